"""Offers array kernels that depend on neither Beam nor siftlm; importing it imports no compiler."""
