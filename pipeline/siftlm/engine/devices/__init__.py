"""Runs work on the CUDA devices of a machine: a process for each device, shared out between processes by locks."""
