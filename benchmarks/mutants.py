"""How many of the mistakes made on purpose do the checks find?  All mutants: `python -m minicnn.testing.mutants`."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import record


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        figures = Path(folder, "mutants.json")
        command = [sys.executable, "-m", "minicnn.testing.mutants", "--json", str(figures)]
        status = subprocess.run(command, cwd=Path(__file__).parents[1], check=False).returncode
        if not figures.exists():
            return status
        results = json.loads(figures.read_text())
    record.write("mutants", results, "python benchmarks/mutants.py")
    return status


if __name__ == "__main__":
    sys.exit(main())
