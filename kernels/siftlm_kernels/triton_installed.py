"""Tells whether Triton is installed, which is asked once so that torch's compiler has nothing to look into."""

from importlib.util import find_spec

TRITON_INSTALLED = find_spec("triton") is not None
