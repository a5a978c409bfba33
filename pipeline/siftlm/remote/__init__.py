"""Reads from the Hugging Face hub and from web servers, which siftlm writes no run to."""
