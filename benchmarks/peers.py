"""minicnn against PyTorch, ONNX Runtime and JAX: the record of a run of ``minicnn bench peers``.

Takes that command's arguments; without any it measures all models and all frameworks that are installed.
"""

from __future__ import annotations

import sys

import record

from minicnn.cli import main

if __name__ == "__main__":
    sys.exit(main(["bench", "peers", *sys.argv[1:], "--output", str(record.RESULTS / "benchmark.json")]))
