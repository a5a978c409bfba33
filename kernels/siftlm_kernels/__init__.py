"""Kernels over arrays: arrays in, arrays out; neither Beam nor `siftlm`. Importing one imports no compiler."""

from importlib.util import find_spec

TRITON_INSTALLED = find_spec("triton") is not None  # asked once, so that torch's compiler has nothing to look into
