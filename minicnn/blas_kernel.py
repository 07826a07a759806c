"""Which kernel OpenBLAS shall use: said when minicnn is imported, if that is before NumPy.

OpenBLAS picks its matrix-product kernel by the processor's name.  The wheels NumPy is shipped in carry five kernels
only (numpy#27147), and a processor they have none for falls back to an older one.  A Zen 4 or 5 has AVX-512 and is
wanted to run the Cooperlake kernel, which they lack; it then gets Haswell's, without AVX-512, where SkylakeX's, which
they have, would do: its single-precision products took 1/1.8 of the time on a Zen 5.

OpenBLAS lets the environment overrule it, once, at the moment it is loaded.  So this module must be imported before
NumPy, and imports none of it; ``minicnn/__init__.py`` imports it first.  What the user has set stays as it is, and
where anything is unlike the known case nothing is done: :func:`minicnn.show_config` tells what that costs.

The variable stays set.  Processes that this one starts inherit it, and so compute with the same kernel to the same
bits; an OpenBLAS that was built without this kernel takes the one it would have fallen back to anyway.
"""

from __future__ import annotations

import os
import sys
from collections.abc import MutableMapping
from importlib.util import find_spec
from pathlib import Path

__all__ = ["CHOSEN", "VARIABLE", "better_kernel", "choose_kernel", "read_cpuinfo"]

VARIABLE = "OPENBLAS_CORETYPE"

_KERNEL = "SkylakeX"
_NEEDS = {"avx2", "fma", "avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl"}
_ZEN = {"25", "26"}  # families: 3 and 4 (of which only 4 has AVX-512), 5


def better_kernel(cpuinfo: str) -> str | None:
    """Return the kernel for a processor known to be given an older one, else None.

    Parameters
    ----------
    cpuinfo : str
        The beginning of Linux's ``/proc/cpuinfo``: the first processor's lines.

    Examples
    --------
    >>> better_kernel('''vendor_id : AuthenticAMD
    ... cpu family : 26
    ... flags : fma avx2 avx512f avx512dq avx512cd avx512bw avx512vl''')
    'SkylakeX'
    """
    first = cpuinfo.partition("\n\n")[0]
    lines = (line.partition(":") for line in first.splitlines())
    fields = {name.strip(): value.strip() for name, _, value in lines}
    is_zen = fields.get("vendor_id") == "AuthenticAMD" and fields.get("cpu family") in _ZEN
    return _KERNEL if is_zen and set(fields.get("flags", "").split()) >= _NEEDS else None


def read_cpuinfo() -> str:
    """Return the beginning of ``/proc/cpuinfo``, or nothing where there is no such file for this kind of processor."""
    if sys.platform != "linux" or os.uname().machine != "x86_64":
        return ""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            return file.read(8192)  # one processor has a quarter of that; hundreds of them take long to list
    except OSError:
        return ""


def choose_kernel(environ: MutableMapping[str, str] = os.environ) -> str | None:
    """Set the variable where that helps, and return what it was set to; None if it was left alone."""
    if VARIABLE in environ or "numpy" in sys.modules:
        return None
    kernel = better_kernel(read_cpuinfo())
    if kernel is None or not _numpy_is_a_wheel():
        return None
    environ[VARIABLE] = kernel
    return kernel


def _numpy_is_a_wheel() -> bool:
    """Whether NumPy brings its own OpenBLAS: others, as distributions build them, have all the kernels."""
    numpy = find_spec("numpy")  # finds it without importing it
    if numpy is None or numpy.origin is None:
        return False
    return any((Path(numpy.origin).parents[1] / "numpy.libs").glob("libscipy_openblas*"))


CHOSEN = choose_kernel()
"""The kernel that minicnn has asked for, at its import; None if it has left the choice alone."""
