"""The GPU a benchmark runs on: its arrays, its kernels, its clock and what it can do at most."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from statistics import median
from typing import Any

from minicnn.backend.cupy_device import CupyDevice
from minicnn.backend.launch import Launcher

from .peers import Peers
from .rows import TOLERANCE
from .timing import Call, Stopwatch

SAMPLES = 10
SIDE = 8192  # of the matrices whose product is the limit: 1.1 TFLOP
COPIED = 1 << 30  # bytes


class Poisoning(CupyDevice):
    """Gives out arrays of NaN (of −1, of integers) while outputs are compared: what is not written shows."""

    poison = False

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Any:
        array = super().empty(shape, dtype)
        if self.poison and array.size:
            array.reshape(-1).view("uint8").fill(255)
        return array


class Gpu:
    """CuPy's current device.

    Raises
    ------
    RuntimeError
        If there is none, or no CuPy.
    """

    def __init__(self) -> None:
        self.device = Poisoning()
        import cupy

        self.xp = cupy
        self.on = Launcher(self.device)
        self.torch = _torch()
        self.peers = Peers(self.torch, cupy) if self.torch else None
        self.random = cupy.random.default_rng(0)
        self.cache = cupy.cuda.Device().attributes["L2CacheSize"]
        self.stopwatch = Stopwatch(cupy, self.cache)

    @contextlib.contextmanager
    def poisoned(self) -> Iterator[None]:
        """Let kernels find NaN in the arrays they are to write."""
        self.device.poison = True
        try:
            yield
        finally:
            self.device.poison = False

    def seconds(self, call: Call) -> float:
        return self.stopwatch.seconds(call)

    def synchronize(self) -> None:
        """Wait, and raise what went wrong in a kernel."""
        self.xp.cuda.Device().synchronize()

    def release(self) -> None:
        """Give memory that nobody uses any more back to whoever wants it next."""
        self.xp.get_default_memory_pool().free_all_blocks()
        if self.torch:
            self.torch.cuda.empty_cache()

    def described(self) -> dict[str, Any]:
        runtime, device = self.xp.cuda.runtime, self.xp.cuda.Device()
        properties = runtime.getDeviceProperties(device.id)
        return {
            "name": properties["name"].decode(),
            "capability": self.device.capability,
            "multiprocessors": self.device.multiprocessors,
            "memory_gb": round(properties["totalGlobalMem"] / 1e9, 1),
            "l2_mb": round(self.cache / 1e6, 1),
            "driver": _version(runtime.driverGetVersion()),
        }

    def versions(self) -> dict[str, str]:
        from minicnn.backend import nvrtc

        found = {
            "cupy": self.xp.__version__,
            "cuda": _version(self.xp.cuda.runtime.runtimeGetVersion()),
            "nvrtc": ".".join(map(str, nvrtc.version())),
        }
        if self.torch:
            found |= {"torch": self.torch.__version__, "cudnn": str(self.torch.backends.cudnn.version())}
        return found

    def peaks(self) -> dict[str, float | None]:
        """What the vendor's own code reaches: a copy, in GB/s read and written; matrix products, in TFLOP/s."""
        a, b = (self.random.standard_normal((SIDE, SIDE), dtype=self.xp.float32) for _ in range(2))
        out = self.xp.empty_like(a)
        calls = {"fp32": lambda: self.xp.matmul(a, b, out=out), **self._other_products(a, b)}
        products = {
            f"{unit}_tflops": 2 * SIDE**3 / self._median(calls[unit]) / 1e12 if unit in calls else None
            for unit in TOLERANCE
        }
        return {**products, "copy_gbs": self._copy()}

    def _copy(self) -> float:
        source = self.xp.ones(COPIED // 4, "float32")
        target = self.xp.empty_like(source)
        return 2 * COPIED / self._median(lambda: self.xp.copyto(target, source)) / 1e9

    def _other_products(self, a: Any, b: Any) -> dict[str, Call]:
        torch = self.torch
        if not torch:
            halves = a.astype("float16"), b.astype("float16")
            return {"fp16": lambda: self.xp.matmul(*halves)}

        def product(dtype: Any) -> Call:
            x, y = (torch.from_dlpack(array).to(dtype) for array in (a, b))
            out = torch.empty_like(x)

            def call() -> None:
                torch.backends.cuda.matmul.allow_tf32 = True
                torch.matmul(x, y, out=out)

            return call

        types = {"tf32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
        return {unit: product(dtype) for unit, dtype in types.items()}

    def _median(self, call: Call) -> float:
        call()
        return median(self.seconds(call) for _ in range(SAMPLES))


def _torch() -> Any:
    """PyTorch, if it is here and sees the GPU too."""
    try:
        import torch
    except ImportError:
        return None
    return torch if torch.cuda.is_available() else None


def _version(number: int) -> str:
    """CUDA's own way to write a version: 12090 → "12.9"."""
    return f"{number // 1000}.{number % 1000 // 10}"
