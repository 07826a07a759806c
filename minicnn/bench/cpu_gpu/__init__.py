"""CPU against GPU: from which batch size on the GPU pays, for a network and for each of its layers.

The same step is timed in three ways, which take turns: on the CPU; on the GPU with its input already there; and on the
GPU with the input sent there and the result fetched.  Before any time is taken the answers are compared.  Beside
these, or in their place where there is no GPU, stands what a named GPU would take by its data sheet: a prediction from
counts of FLOPs and bytes, and called that wherever it appears.

    :mod:`~minicnn.bench.cpu_gpu.job`       what is computed, on any device
    :mod:`~minicnn.bench.cpu_gpu.network`   a network's copies on the devices, and its layers
    :mod:`~minicnn.bench.cpu_gpu.point`     what is known of one batch size, and from which on the GPU pays
    :mod:`~minicnn.bench.cpu_gpu.gpus`      what GPUs can do by their data sheets
    :mod:`~minicnn.bench.cpu_gpu.roofline`  the prediction
    :mod:`~minicnn.bench.cpu_gpu.measure`   all batch sizes of a network
    :mod:`~minicnn.bench.cpu_gpu.report`    as tables
    :mod:`~minicnn.bench.cpu_gpu.chart`     as a picture
    :mod:`~minicnn.bench.cpu_gpu.recording` as a record
"""

from __future__ import annotations

from .gpus import GPUS, Gpu, named
from .measure import Settings, curves
from .point import LINES, Curve, Point, pays_from
from .recording import results

__all__ = ["GPUS", "LINES", "Curve", "Gpu", "Point", "Settings", "curves", "named", "pays_from", "results"]
