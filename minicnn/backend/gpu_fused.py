"""Whole operations on the GPU, of one kernel each."""
