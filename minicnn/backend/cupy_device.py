"""The GPU as a launcher's device: kernels compiled once by NVRTC, kept on disk, loaded and started by CuPy.

A cubin in the user's cache is named by the hash of everything it was made from: the sources, headers included, the
instance, the compiler's version and the architecture.  So an edited kernel is compiled anew, and an old file is never
taken for it.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .. import cache
from ..atomic import replacing
from . import gpu_state, nvrtc
from .cuda_source import Kernel
from .launch import Launcher

__all__ = ["CupyDevice", "cubin", "launcher"]

DEFAULT_SHARED = 48 * 1024  # a block gets more only after asking for it


class CupyDevice:
    """CuPy's current device when this is made.

    Raises
    ------
    RuntimeError
        If CuPy is not installed, sees no GPU, or the GPU is older than sm_70: one sentence saying what would mend it.
    """

    def __init__(self) -> None:
        try:
            import cupy  # pyright: ignore[reportMissingImports]  (an extra)

            if not cupy.cuda.is_available():
                gpu_state.require()
        except ImportError:
            gpu_state.require()
            raise
        self._cupy = cupy
        self._current = cupy.cuda.runtime.getDevice
        self._device = cupy.cuda.Device()
        self.capability = int(self._device.compute_capability)
        if self.capability < gpu_state.LEAST_CAPABILITY:
            raise RuntimeError(
                f"cuda: the kernels need compute capability {gpu_state.LEAST_CAPABILITY / 10}, device "
                f"{self._device.id} has {self.capability / 10}"
            )
        attributes = self._device.attributes
        self.multiprocessors: int = attributes["MultiProcessorCount"]
        self.shared_memory: int = attributes["MaxSharedMemoryPerBlockOptin"]
        self._functions: dict[str, Callable[..., None]] = {}

    def holds(self, array: Any) -> bool:
        """Whether this is a CuPy array in this device's memory."""
        return isinstance(array, self._cupy.ndarray) and array.device.id == self._device.id

    def address(self, array: Any) -> int:
        """Return the device pointer of an array."""
        return array.data.ptr

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Any:
        """Return a new CuPy array of unspecified values."""
        return self._here(self._cupy.empty, shape, dtype)

    def view(
        self, array: Any, offset: int, shape: tuple[int, ...], dtype: Any, strides: tuple[int, ...]
    ) -> Any:
        """Return a CuPy array over the memory of another one."""
        return self._cupy.ndarray(shape, dtype, array.data + offset, strides)

    def matmul(self, a: Any, b: Any, out: Any) -> Any:
        """Write the product a @ b to `out`, by cuBLAS."""
        return self._here(self._cupy.matmul, a, b, out=out)

    def function(self, kernel: Kernel, expression: str) -> Callable[..., None]:
        """Return what starts an instance, compiled and loaded when it is asked for the first time.

        It starts on this device, whichever is current, in its current stream.
        """
        if expression not in self._functions:
            path, name = cubin(kernel, expression, self.capability)
            with self._device:
                function = self._cupy.RawModule(path=str(path)).get_function(name)
                room = self.shared_memory - function.shared_size_bytes
                if room > DEFAULT_SHARED:
                    function.max_dynamic_shared_size_bytes = room
            self._functions[expression] = functools.partial(self._here, function)
        return self._functions[expression]

    def _here(self, call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Call with this device as the current one, as it nearly always is: to ask is cheaper than to set."""
        if self._current() == self._device.id:
            return call(*arguments, **options)
        with self._device:
            return call(*arguments, **options)


def launcher() -> Launcher:
    """Return the launcher of CuPy's current device: one for each device, kept.

    ``launcher.cache_clear()`` forgets them.

    Raises
    ------
    RuntimeError
        As :class:`CupyDevice`.
    """
    try:
        import cupy  # pyright: ignore[reportMissingImports]  (an extra)

        current = cupy.cuda.runtime.getDevice()
    except (ImportError, RuntimeError):
        return Launcher(CupyDevice())  # which says what is missing
    return _launcher_of(current)


@functools.cache
def _launcher_of(current: int) -> Launcher:
    return Launcher(CupyDevice())


launcher.cache_clear = _launcher_of.cache_clear  # pyright: ignore[reportFunctionMemberAccess]  (as a cached one has)


def cubin(kernel: Kernel, expression: str, architecture: int) -> tuple[Path, str]:
    """Return the file with an instance's machine code, and its function's name there.

    Parameters
    ----------
    kernel : Kernel
    expression : str
        The instance, ``"scale_v2<float, int>"``.
    architecture : int
        70 for sm_70.

    Raises
    ------
    minicnn.backend.nvrtc.NvrtcNotFound, minicnn.backend.nvrtc.CompileError
        If it is not in the cache and cannot be compiled.
    """
    folder = cache.folder() / "kernels"
    known = (*kernel.source.files.items(), expression, architecture, nvrtc.version())
    code = (
        folder
        / f"{kernel.name}-sm_{architecture}-{hashlib.sha256(repr(known).encode()).hexdigest()[:32]}.cubin"
    )
    name = code.with_suffix(".name")
    if not (code.is_file() and name.is_file()):
        compiled = nvrtc.compile_file(kernel.source.path, [expression], architecture)
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(name) as temporary:
            temporary.write_text(compiled.names[expression])
        with replacing(code) as temporary:
            temporary.write_bytes(compiled.cubin)
    return code, name.read_text()
