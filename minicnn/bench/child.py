"""The process a peer lives in: it does what it is told, a line of JSON at a time, and in between does nothing.

    {"module": …, "options": …, "task": …}   once: load everything              → {"versions": …}
    {"do": "answer", "to": FILE}             write what is compared              → {}
    {"do": "measure"}                        warm up; then one step, observed    → {"seconds": …, "bytes": …}
    {"do": "sample", "steps": n}             n steps                             → {"seconds": of one, "loss": …}

If something goes wrong the reply is {"error": …} and the process ends; it also ends when its parent has.
"""

from __future__ import annotations

import json
import os
import sys
import time
from importlib import import_module
from typing import Any, TextIO

import numpy as np

from .memory import give_back, peak, reset_peak, resident
from .peers import Runner
from .task import Task

__all__ = ["main"]


def main() -> None:
    """Serve the parent at the other end of standard input and output."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no reply
    try:
        _serve(sys.stdin, replies)
    except Exception as error:
        lines = str(error).strip().splitlines()
        _reply(replies, {"error": f"{type(error).__name__}: {lines[0] if lines else 'no message'}"})
        raise


def _serve(orders: TextIO, replies: TextIO) -> None:
    first = json.loads(orders.readline())
    module = import_module(first["module"])
    runner: Runner = module.prepare(Task(**first["task"]), **first["options"])
    give_back()
    loaded = resident()
    _reply(replies, {"versions": module.versions()})
    for line in orders:
        order = json.loads(line)
        match order["do"]:
            case "answer":
                np.savez(order["to"], allow_pickle=False, **runner.answer())
                _reply(replies, {})
            case "measure":
                _reply(replies, _measure(runner, loaded))
            case "sample":
                _reply(replies, _sample(runner, order["steps"]))


def _measure(runner: Runner, loaded: int) -> dict[str, Any]:
    """Return the time of a second step, and the most memory in it beyond what there was when all was loaded."""
    runner.step()
    reset_peak()
    start = time.perf_counter()
    runner.step()
    return {"seconds": time.perf_counter() - start, "bytes": max(peak() - loaded, 0)}


def _sample(runner: Runner, steps: int) -> dict[str, Any]:
    """Return the mean time of so many steps; where they are many, after one more that warms the caches."""
    if steps > 1:
        runner.step()
    loss = None
    start = time.perf_counter()
    for _ in range(steps):
        loss = runner.step()
    return {"seconds": (time.perf_counter() - start) / steps, "loss": loss}


def _reply(replies: TextIO, message: dict[str, Any]) -> None:
    replies.write(json.dumps(message) + "\n")
    replies.flush()


if __name__ == "__main__":
    main()
