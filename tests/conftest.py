"""Hypothesis without a clock: shared machines are slow at times, and a timed test tells nothing.

In CI the examples are the same on every run; elsewhere each run draws new ones.
"""

import os

from hypothesis import HealthCheck, settings

settings.register_profile(
    "minicnn",
    deadline=None,
    derandomize=bool(os.environ.get("CI")),
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("minicnn")
