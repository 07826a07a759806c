"""What there is for the cuda device on this machine, and the first thing that keeps it from working.

The device needs NVIDIA's driver, and CuPy built for a version of CUDA that the driver knows.  CuPy's wheels come
without the CUDA libraries: NVRTC, the headers it compiles with, and cuBLAS are installed beside it.  Each of these can
be missing, or be of another version than the rest, and then a library fails with an error that names neither.  Here it
is one sentence: the values found, the rule, the command that mends it.

The rule for versions is CUDA's own: a driver runs what was built for its major version of CUDA, or for an older one.

References
----------
NVIDIA, "CUDA Compatibility", chapter 2, "Minor Version Compatibility", with the least driver of each version.
"""

from __future__ import annotations

import os
import re
import sys
import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module, metadata
from typing import Any

from . import nvidia_driver, nvrtc
from .nvidia_driver import Driver

__all__ = ["Cupy", "Libraries", "State", "look", "problem", "require"]

LEAST_CAPABILITY = 70
"""The kernels use instructions of sm_70."""

_LEAST_CUDA = 12
_LEAST_CUPY = 13  # the first to work with NumPy 2
_LEAST_DRIVER = {12: 525, 13: 580}  # for each major version of CUDA, on Linux
_CUDA_13_COMPILES_FOR = 75

_BUILDS = (  # the distributions that bring a package of CuPy's name
    "cupy",
    "amd-cupy",
    *(f"cupy-cuda{version}" for version in ("102", *range(110, 118), "11x", "12x", "13x", "14x")),
    *(f"cupy-rocm-{version}" for version in ("4-0", "4-2", "4-3", "5-0", "7-0", "7-1", "7-14")),
)

_checked: Any = None
"""The module ``cupy`` that was found to work."""


@dataclass(frozen=True)
class Cupy:
    """CuPy, imported.

    Attributes
    ----------
    version : str
        Empty where it could not be imported.
    built_for : int or None
        A major version of CUDA.
    gpus : int
        How many GPUs it can use.
    error : str
        Why it could not be imported, or can use none.
    """

    version: str = ""
    built_for: int | None = None
    gpus: int = 0
    error: str = ""

    @property
    def release(self) -> tuple[int, ...]:
        """The numbers its version begins with, (14, 2) of ``"14.2.0rc1"``."""
        return tuple(map(int, re.findall(r"\d+", self.version)[:2]))


@dataclass(frozen=True)
class Libraries:
    """The CUDA libraries that CuPy leaves to be installed beside it.

    Attributes
    ----------
    nvrtc : (int, int) or None
        The version of NVRTC, None where it is missing.
    architectures : tuple of int
        What NVRTC compiles for, in ascending order, 90 for sm_90.
    missing : tuple of str
        The names of those not found.
    """

    nvrtc: tuple[int, int] | None = None
    architectures: tuple[int, ...] = ()
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class State:
    """What was found.

    Attributes
    ----------
    driver : Driver or None
    builds : mapping
        The installed distributions of CuPy and their versions, ``{"cupy-cuda12x": "14.2.0"}``.
    cupy : Cupy
    libraries : Libraries
        Looked for where there is a driver or a CuPy.
    visible : str or None
        ``CUDA_VISIBLE_DEVICES``, None where it is not set.
    """

    driver: Driver | None = None
    builds: Mapping[str, str] = field(default_factory=dict)
    cupy: Cupy = Cupy()
    libraries: Libraries = Libraries()
    visible: str | None = None


def require() -> None:
    """Make sure that the cuda device works.

    Raises
    ------
    RuntimeError
        If it does not: one sentence with what is there, the rule, and what mends it.
    """
    global _checked
    if _checked is not None and sys.modules.get("cupy") is _checked:
        return
    if found := problem(look()):
        raise RuntimeError(f"cuda: {found}")
    _checked = sys.modules["cupy"]


def look() -> State:
    """Return what there is; CuPy is imported if it can be.

    Examples
    --------
    >>> state = look()
    >>> state.driver is None or state.driver.version >= (5, 0)
    True
    """
    driver, builds = nvidia_driver.find(), _builds()
    return State(
        driver=driver,
        builds=builds,
        cupy=_cupy(),
        libraries=_libraries() if driver or builds else Libraries(),  # of which nobody asks who has neither
        visible=os.environ.get("CUDA_VISIBLE_DEVICES"),
    )


def _builds() -> dict[str, str]:
    found = {}
    for name in _BUILDS:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def _cupy() -> Cupy:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # CuPy warns of two builds, which here is an error
            cupy = import_module("cupy")
    except Exception as error:  # whatever a broken installation raises
        return Cupy(error=_first_line(error.__cause__ or error))  # CuPy wraps it in a page of advice
    version, built_for, gpus, reason = str(getattr(cupy, "__version__", "?")), None, 0, ""
    with suppress(Exception):
        built_for = cupy.cuda.runtime.runtimeGetVersion() // 1000
    try:
        gpus = cupy.cuda.runtime.getDeviceCount()
    except Exception as error:  # CUDARuntimeError, where there is no driver or an old one
        reason = _first_line(error)
    return Cupy(version, built_for, gpus, reason)


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".partition("\n")[0]


def _libraries() -> Libraries:
    found, architectures, missing = None, (), []
    try:
        found, architectures = nvrtc.version(), nvrtc.architectures()
    except RuntimeError:
        missing.append("NVRTC")
    try:
        from cuda import pathfinder
    except ImportError:
        return Libraries(found, architectures, (*missing, "cuda-pathfinder"))
    if pathfinder.find_nvidia_header_directory("cudart") is None:
        missing.append("CUDA's headers")
    if not _has_cublas():
        missing.append("cuBLAS")
    return Libraries(found, architectures, tuple(missing))


def _has_cublas() -> bool:
    """Whether CuPy can load cuBLAS, which must be of the version it was built with."""
    try:
        return import_module("cupy").cuda.cublas is not None
    except Exception:  # RuntimeError by cuda-pathfinder, ImportError by CuPy
        return False


# What is wrong


def problem(state: State) -> str | None:
    """Return the first thing that keeps the cuda device from working, None where nothing is known to.

    Parameters
    ----------
    state : State
        From :func:`look`.

    Returns
    -------
    str or None
        One sentence with what is there, the rule, and the command that mends it where there is one.

    Examples
    --------
    >>> problem(State(builds={"cupy-cuda12x": "14.2.0"}, cupy=Cupy("14.2.0", built_for=12)))
    "CuPy 14.2.0 (cupy-cuda12x) is there and NVIDIA's driver is not; install a driver from 525 on, and start a container
    with --gpus all"
    """
    if wrong := _wrong_cupy(state):
        return wrong
    if not state.cupy.gpus:
        return _wrong_driver(state)
    return _wrong_gpus(state) or _wrong_libraries(state)


def _wrong_cupy(state: State) -> str | None:
    cupy, builds = state.cupy, state.builds
    if len(builds) > 1:
        listed = " and ".join(f"{name} {version}" for name, version in builds.items())
        return f"{listed} are installed, and builds of CuPy overwrite each other's files; {_anew(state)}"
    if any("rocm" in name or "amd" in name for name in builds):
        return f"{_named(state)} is built for AMD's GPUs, and the kernels are for NVIDIA's; {_anew(state)}"
    if not cupy.version and not builds:
        return f"CuPy is not installed, which computes on the GPU; {_anew(state)}"
    if not cupy.version:
        return f"{_named(state)} is installed, and importing it raises {cupy.error}; {_anew(state)}"
    if cupy.release and cupy.release[0] < _LEAST_CUPY:
        return f"{_named(state)} is older than {_LEAST_CUPY}, the first to work with NumPy 2; {_anew(state)}"
    if cupy.built_for is not None and cupy.built_for < _LEAST_CUDA:
        return f"{_named(state)} is built for CUDA {cupy.built_for}, and 12 is the least; {_anew(state)}"
    return None


def _wrong_driver(state: State) -> str:
    """Return why CuPy finds no GPU."""
    driver, needed = state.driver, state.cupy.built_for or _LEAST_CUDA
    newer = f"install a driver from {_LEAST_DRIVER.get(needed, 580)} on"
    if driver is None:
        return f"{_named(state)} is there and NVIDIA's driver is not; {newer}, and start a container with --gpus all"
    known = f"CUDA {_dotted(driver.version)}"
    if driver.version[0] < needed:
        either = f"{_commands(state)}, or " if driver.version[0] >= _LEAST_CUDA else ""
        return f"{_named(state)} is built for CUDA {needed}, and the driver knows {known} at most; {either}{newer}"
    if driver.gpus:
        names = " and ".join(gpu.name for gpu in driver.gpus)
        return f"the driver finds {names}, and {_named(state)} raises {state.cupy.error}; {_anew(state)}"
    if state.visible is not None and driver.error in ("", "CUDA_ERROR_NO_DEVICE"):
        return (
            f"CUDA_VISIBLE_DEVICES={state.visible!r} in the environment leaves CUDA no GPU to see; unset it, or set it "
            "to numbers that nvidia-smi -L lists"
        )
    return (
        f"the driver, for {known}, finds no GPU: {driver.error or 'it counts none'}; run nvidia-smi, and where that "
        "fails too, restart the machine or install the driver anew"
    )


def _wrong_gpus(state: State) -> str | None:
    gpus = state.driver.gpus if state.driver else ()
    if not gpus or max(gpu.capability for gpu in gpus) >= LEAST_CAPABILITY:
        return None
    listed = " and ".join(f"{gpu.name} has {gpu.capability / 10}" for gpu in gpus)
    return f"the kernels need compute capability {LEAST_CAPABILITY / 10}, and {listed}; a newer GPU is needed"


def _wrong_libraries(state: State) -> str | None:
    driver, libraries = state.driver, state.libraries
    compiler = f"NVRTC {_dotted(libraries.nvrtc)}" if libraries.nvrtc else ""
    if driver and libraries.nvrtc and libraries.nvrtc[0] > driver.version[0]:
        return (
            f"{compiler} compiles for drivers of CUDA {libraries.nvrtc[0]}, and the driver knows CUDA "
            f"{_dotted(driver.version)} at most; run pip uninstall -y nvidia-cuda-nvrtc, then {_install('cuda12')}"
        )
    if libraries.missing:
        beside = f" beside {compiler}" * bool(compiler)
        mixed = libraries.nvrtc and state.cupy.built_for not in (None, libraries.nvrtc[0])
        mend = _anew(state) if mixed else f"run {_install(_own_extra(state))}"
        return (
            f"{_named(state)} and the kernels need {', '.join(libraries.missing)}, not found{beside}; {mend}"
        )
    can = libraries.architectures
    gpus = [gpu for gpu in driver.gpus if gpu.capability >= LEAST_CAPABILITY] if driver else []
    if not can or not gpus or any(gpu.capability in can for gpu in gpus):
        return None
    listed = " and ".join(f"{gpu.name} is sm_{gpu.capability}" for gpu in gpus)
    mend = f'pip install -U cuda-toolkit "minicnn[{_own_extra(state)}]"'
    if max(gpu.capability for gpu in gpus) < can[0]:
        mend = f"pip uninstall -y {' '.join((*state.builds, 'nvidia-cuda-nvrtc'))}, then {_install('cuda12')}"
    return f"{compiler} compiles for sm_{can[0]} to sm_{can[-1]}, and {listed}; run {mend}"


# What mends it


def _anew(state: State) -> str:
    """Return how to install what suits the driver in place of what is there, and why that."""
    if state.driver is None:
        return f'{_commands(state)}, or "minicnn[cuda13]" for a driver from {_LEAST_DRIVER[13]} on'
    known = f"CUDA {_dotted(state.driver.version)}"
    if state.driver.version[0] < _LEAST_CUDA:
        return f"{_commands(state)}, and a driver from {_LEAST_DRIVER[12]} on, for this one knows {known} at most"
    return f"{_commands(state)}, for the driver knows {known}"


def _commands(state: State) -> str:
    remove = f"pip uninstall -y {' '.join(state.builds)}, then " if state.builds else ""
    return f"run {remove}{_install(_suiting_extra(state.driver))}"


def _install(extra: str) -> str:
    return f'pip install "minicnn[{extra}]"'


def _suiting_extra(driver: Driver | None) -> str:
    """Return the extra for the newest CUDA that the driver knows and that compiles for its GPUs."""
    if driver is None or driver.version[0] < 13:
        return "cuda12"
    old = any(LEAST_CAPABILITY <= gpu.capability < _CUDA_13_COMPILES_FOR for gpu in driver.gpus)
    return "cuda12" if old else "cuda13"


def _own_extra(state: State) -> str:
    """Return the extra that goes with the CuPy that is installed."""
    return (
        f"cuda{state.cupy.built_for}"
        if state.cupy.built_for in _LEAST_DRIVER
        else _suiting_extra(state.driver)
    )


def _named(state: State) -> str:
    """Return CuPy's version and distribution."""
    name, version = next(iter(state.builds.items()), ("", state.cupy.version))
    return f"CuPy {state.cupy.version or version}" + f" ({name})" * bool(name)


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"
