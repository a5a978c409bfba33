"""The laws of mixtures: a file each."""
