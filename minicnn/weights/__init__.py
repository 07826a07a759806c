"""Weights on disk: checkpoints in the safetensors format, which no crash or Ctrl-C leaves half written."""

from __future__ import annotations

from .checkpoint import load, read_metadata, save

__all__ = ["load", "read_metadata", "save"]
