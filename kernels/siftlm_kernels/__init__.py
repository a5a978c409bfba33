"""Offers kernels over arrays; knows neither Beam nor siftlm."""

from importlib.util import find_spec

TRITON_INSTALLED = find_spec("triton") is not None  # asked once, so that torch's compiler has nothing to look into
