"""What minicnn runs on, and what holds it back: versions, BLAS and its kernel, threads, GPU.

Why OpenBLAS may use an older kernel than the processor could run, :mod:`minicnn.blas_kernel` tells.
"""

from __future__ import annotations

import importlib.util
import os
import platform
from collections.abc import Mapping, Set
from typing import Any

import numpy as np
from threadpoolctl import threadpool_info

from . import blas_kernel
from .backend import gpu_state
from .backend.cpus import usable_cpus
from .backend.gpu_state import State
from .backend.nvidia_driver import Gpu
from .backend.parallel import get_num_threads

__all__ = ["get_config", "show_config"]

_AVX512 = {"X86_V4", "AVX512_SKX"}  # NumPy's name for the same instructions since 2.4, and before
_OLDER_KERNELS = {"Haswell", "Zen", "Sandybridge", "Nehalem", "Prescott"}  # of OpenBLAS, without AVX-512
_OVERRUNS_ITS_STACK = "0.3.34"  # OpenBLAS #6013, #6021, #6026


def show_config() -> None:
    """Print versions, BLAS and its kernel type, threads, GPU, and what slows minicnn down or keeps it off the GPU.

    Examples
    --------
    >>> show_config()
    minicnn    0...
    Python     3...
    """
    config = get_config()
    notes = config.pop("notes")
    for name, value in config.items():
        print(f"{name:<10} " + value.replace("\n", "\n" + 11 * " "))
    for note in notes:
        print(f"note: {note}")


def get_config() -> dict[str, Any]:
    """Return what :func:`show_config` prints: a text for each of its lines, and a list of ``"notes"``.

    Where there is an NVIDIA driver or CuPy, these lines are added: ``"driver"``, ``"CuPy"`` and ``"NVRTC"``.  CuPy is
    then imported.

    Examples
    --------
    >>> list(get_config())
    ['minicnn', 'Python', 'NumPy', 'BLAS', 'threads', 'GPU', ...'notes']
    """
    from . import __version__

    built = np.show_config(mode="dicts")
    blas = next((library for library in threadpool_info() if library["user_api"] == "blas"), None)
    threads, cpus, gpu = get_num_threads(), usable_cpus(), gpu_state.look()
    return {
        "minicnn": __version__,
        "Python": f"{platform.python_version()}, {platform.system()} {platform.machine()}",
        "NumPy": np.__version__,
        "BLAS": _describe_blas(blas, built["Build Dependencies"]["blas"]["name"]),
        "threads": f"{threads} on {cpus} CPUs",
        **_describe_gpu(gpu),
        "notes": _notes(blas, {*built["SIMD Extensions"].get("found", ())}, threads, cpus) + _gpu_notes(gpu),
    }


def _describe_blas(blas: Mapping[str, Any] | None, built_with: str) -> str:
    if blas is None:
        return f"{built_with}, which threadpoolctl does not know"
    kernel = blas.get("architecture", "unknown")
    chosen = ", as minicnn has asked for" if kernel == blas_kernel.CHOSEN else ""
    return f"{blas['internal_api']} {blas['version']}, kernel type {kernel}{chosen}"


def _describe_gpu(found: State) -> dict[str, str]:
    """Return the lines about the GPU: one alone where nobody has tried to use one."""
    if not _has_gpu_parts(found):
        return {"GPU": "none: no NVIDIA driver, no CuPy"}
    driver, cupy, libraries = found.driver, found.cupy, found.libraries
    gpus = driver.gpus if driver else ()
    builds = ", ".join(f"{name} {version}" for name, version in found.builds.items())
    nvrtc, known = libraries.nvrtc, libraries.architectures
    return {
        "GPU": "\n".join(f"cuda:{number} {_describe_one(gpu)}" for number, gpu in enumerate(gpus)) or "none",
        "driver": f"knows CUDA {driver.version[0]}.{driver.version[1]}" if driver else "none",
        "CuPy": builds or cupy.version or "none",
        "NVRTC": f"{nvrtc[0]}.{nvrtc[1]}, compiles for sm_{known[0]} to sm_{known[-1]}" if nvrtc else "none",
    }


def _describe_one(gpu: Gpu) -> str:
    free = "" if gpu.free is None else f"{_gibibytes(gpu.free)} free of "
    return f"{gpu.name}, sm_{gpu.capability}, {free}{_gibibytes(gpu.total)} GiB"


def _gibibytes(size: int) -> str:
    return f"{size / 2**30:.1f}"


def _has_gpu_parts(found: State) -> bool:
    """Whether there is anything that somebody would have who wants to use a GPU."""
    return bool(found.driver or found.builds or found.cupy.version)


def _gpu_notes(found: State) -> list[str]:
    """Return the first thing that keeps the cuda device from working, or else what keeps a part of it."""
    if not _has_gpu_parts(found):
        return []
    if problem := gpu_state.problem(found):
        return [f"cuda: {problem}"]
    if found.cupy.release and found.cupy.release < (14,):
        return [
            f"cuda: minicnn is tested with CuPy 14, and CuPy {found.cupy.version} has no bfloat16; run pip install -U "
            f"{' '.join(found.builds)}"
        ]
    if importlib.util.find_spec("ml_dtypes") is None:
        return ["cuda: bfloat16 needs ml_dtypes, which is not installed; run pip install ml_dtypes"]
    return []


def _notes(blas: Mapping[str, Any] | None, instructions: Set[str], threads: int, cpus: int) -> list[str]:
    """Return one sentence for each thing found that costs speed or safety."""
    notes = []
    if blas is None:
        notes.append(
            "BLAS: results may differ in the last bits for other numbers of threads, since BLAS has its own"
        )
    elif blas["internal_api"] == "openblas":
        notes += _openblas_notes(blas, instructions)
    if threads < cpus:
        notes.append(f"threads: {threads} of {cpus} CPUs are used; minicnn.set_num_threads({cpus}) uses all")
    elif threads > cpus:
        notes.append(
            f"threads: {threads} share {cpus} CPUs; minicnn.set_num_threads({cpus}) is likely to be faster"
        )
    return notes


def _openblas_notes(blas: Mapping[str, Any], instructions: Set[str]) -> list[str]:
    kernel = blas.get("architecture")
    if kernel not in _OLDER_KERNELS or not instructions & _AVX512:
        return []
    notes = [
        f"BLAS: this processor has AVX-512, OpenBLAS uses its {kernel} kernel without it; {_remedy()}, float32 matrix "
        "products took 1/1.8 of the time on a Zen 5"
    ]
    if str(blas["version"]).startswith(_OVERRUNS_ITS_STACK):
        notes.append(
            f"BLAS: OpenBLAS {_OVERRUNS_ITS_STACK} can overrun its stack in float64 products with the {kernel} kernel "
            f"on a Zen 4 or 5; {blas_kernel.VARIABLE}=SkylakeX avoids that too"
        )
    return notes


def _remedy() -> str:
    """Return how to get the better kernel."""
    by_hand = f"with {blas_kernel.VARIABLE}=SkylakeX in the environment"
    if asked := os.environ.get(blas_kernel.VARIABLE):
        return f"{by_hand}, where {asked} stands now"
    known = blas_kernel.better_kernel(blas_kernel.read_cpuinfo())
    return f"with minicnn imported before NumPy, or {by_hand.removeprefix('with ')}" if known else by_hand
