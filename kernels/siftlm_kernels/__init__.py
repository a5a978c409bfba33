"""Offers kernels over arrays; knows neither Beam nor siftlm. Importing it imports no compiler."""
