"""The methods of `siftlm mix`: a file each, which the union in `mixtures.settings` names."""
