"""Peers of no framework, for tests of the benchmark: what they do, and what goes wrong, is an option."""

from __future__ import annotations

import json
import math
import os
import signal
import time
from dataclasses import dataclass

import numpy as np

from minicnn.bench.task import Task


def versions():
    return {"fake": "1.0"}


@dataclass
class Fake:
    """Sleeps for a step; notes in a file what it does and when; goes wrong in one way at one time."""

    task: Task
    seconds: float = 0.06
    answer_is: float = 1.0
    log: str = ""
    name: str = ""
    dies: str = ""
    hangs: str = ""
    raises: str = ""
    megabytes: int = 0
    loss: float | str | None = None
    steps: int = 0

    def __post_init__(self):
        print("noise on standard output, which is no reply")
        self.now("prepare")

    def now(self, doing):
        if self.raises == doing:
            raise RuntimeError("planted\nand a second line")
        if self.hangs == doing:
            time.sleep(60)
        if self.dies == doing:
            os.kill(os.getpid(), signal.SIGKILL)

    def step(self):
        self.steps += 1
        begin = time.time()
        block = np.ones(self.megabytes * 125_000)
        time.sleep(self.seconds)
        del block
        if self.steps > 2:  # the first two are the warm-up
            self.now("sample")
        if self.log:
            with open(self.log, "a") as file:
                entry = {"name": self.name, "pid": os.getpid(), "begin": begin, "end": time.time()}
                file.write(json.dumps(entry) + "\n")
        return math.nan if self.loss == "nan" else self.loss

    def answer(self):
        self.now("answer")
        return {"scores": np.full(3, self.answer_is)}


def prepare(task, **options):
    return Fake(task, **options)
