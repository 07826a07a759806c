"""Weights on disk: safetensors, never left half written, and the files of others, read without trusting them."""

from __future__ import annotations

from .checkpoint import load, read_header, read_metadata, save, write
from .npz import save_npz

__all__ = ["load", "read_header", "read_metadata", "save", "save_npz", "write"]
