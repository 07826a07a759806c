"""Pooling on the GPU."""
