"""Every network's gradient against finite differences, at its published size: `minicnn gradcheck --all`.

An interrupted run leaves the networks it has finished in the file named by --json, and goes on from there.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from pathlib import Path

import record


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, default=Path("network_gradients.json"), help="finished networks")
    arguments = parser.parse_args()
    resumed = arguments.json.exists()
    command = [sys.executable, "-m", "minicnn", "gradcheck", "--all", "--json", str(arguments.json)]
    status = subprocess.run(command, check=False).returncode
    networks = json.loads(arguments.json.read_text())
    results = {
        "networks": networks,
        "minutes": round(sum(figures["seconds"] for figures in networks.values()) / 60, 1),
        "worst_relative_error": max(figures["worst_relative_error"] for figures in networks.values()),
        "all_agree": all(figures["ok"] for figures in networks.values()),
    }
    if not resumed:
        results["peak_memory_gb"] = round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6, 2)
    record.write("network_gradients", results, "python benchmarks/network_gradients.py")
    return status


if __name__ == "__main__":
    sys.exit(main())
