"""Kernels over arrays: arrays in, arrays out; neither Beam nor `siftlm`. Importing one imports no compiler."""
