"""The process that runs the kernels: started when needed, kept between launches, replaced after an error.

A process apart, since sanitizers must be linked into the program from its start, and end it at the first error.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import struct
import subprocess
import tempfile
import time
import weakref
from collections.abc import Sequence
from pathlib import Path

from .errors import EmulatorError, from_report

__all__ = ["Server"]

_OPTIONS = {
    "ASAN_OPTIONS": "detect_leaks=0:detect_stack_use_after_return=0:redzone=256",
    "UBSAN_OPTIONS": "print_stacktrace=0",
    "TSAN_OPTIONS": "halt_on_error=1:report_signal_unsafe=0:history_size=2",
}


_START = 60.0  # seconds: on a busy machine a process may take long to begin


class Server:
    """A running executable, and the two pipes to it.

    Parameters
    ----------
    executable : Path
    files : sequence of str
        The user's own files, to find the lines in reports.
    timeout : float
        Seconds a launch may take.
    """

    def __init__(self, executable: Path, files: Sequence[str], timeout: float) -> None:
        self._executable = executable
        self._files = files
        self._timeout = timeout
        self._process: subprocess.Popen[bytes] | None = None
        self._log = tempfile.TemporaryFile("a+b")  # noqa: SIM115  (it lives as long as this object)
        weakref.finalize(self, self._log.close)
        self._finalizer: weakref.finalize | None = None
        self.parameters: list[str] = []

    def start(self) -> None:
        """Start the process, unless it runs, and learn the kernels' parameters."""
        if self._process is not None and self._process.poll() is None:
            return
        try:
            self._start([])
        except EmulatorError as error:
            # Where addresses are laid out too much at random, ThreadSanitizer cannot start.
            if "unexpected memory mapping" not in error.report or not shutil.which("setarch"):
                raise
            self._start(["setarch", "--addr-no-randomize"])

    def _start(self, prefix: list[str]) -> None:
        self.stop()
        self._log.truncate(0)
        self._process = subprocess.Popen(
            [*prefix, str(self._executable)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            bufsize=0,
            env={**os.environ, **_OPTIONS},
        )
        self._finalizer = weakref.finalize(self, _end, self._process)
        self._deadline = time.monotonic() + max(self._timeout, _START)
        self._kernel = "the emulator"
        self.parameters = [self.text() for _ in range(self.number())]

    def stop(self) -> None:
        """End the process."""
        if self._finalizer is not None:
            self._finalizer()
        self._process = None

    def launch(self, kernel: str, request: bytes | bytearray) -> None:
        """Send a request and wait until it is done; what it returns is to be read next."""
        self._kernel = kernel
        self._deadline = time.monotonic() + self._timeout
        self._printed = os.fstat(self._log.fileno()).st_size
        assert self._process is not None
        assert self._process.stdin is not None
        view = memoryview(request)
        try:
            while view:
                view = view[os.write(self._process.stdin.fileno(), view[: 1 << 20]) :]
        except BrokenPipeError:
            self._died()
        if self.bytes(1) == b"E":
            kind, file, line, text = (self.text() for _ in range(4))
            self.stop()
            places = ((file, int(line)),) if file else ()
            where = f" at {file}:{line}" if file else ""
            raise EmulatorError(f"{kernel}: {kind}{where}: {text}", kind, places)

    def printed(self) -> str:
        """What the kernel has printed since the launch."""
        return self._read_log(self._printed)

    def _read_log(self, start: int) -> str:
        size = os.fstat(self._log.fileno()).st_size - start
        return os.pread(self._log.fileno(), size, start).decode(errors="replace") if size else ""

    def bytes(self, count: int) -> bytes:
        """The next bytes of the answer."""
        assert self._process is not None
        assert self._process.stdout is not None
        pipe = self._process.stdout.fileno()
        pieces = []
        while count > 0:
            if not select.select([pipe], [], [], max(0.0, self._deadline - time.monotonic()))[0]:
                self._process.kill()
                self.stop()
                raise EmulatorError(f"{self._kernel}: not done after {self._timeout:g} seconds", "timeout")
            piece = os.read(pipe, min(count, 1 << 20))
            if not piece:
                self._died()
            pieces.append(piece)
            count -= len(piece)
        return b"".join(pieces)

    def number(self) -> int:
        """The next number of the answer."""
        return struct.unpack("=I", self.bytes(4))[0]

    def text(self) -> str:
        """The next text of the answer."""
        return self.bytes(self.number()).decode()

    def _died(self) -> None:
        assert self._process is not None
        code = self._process.wait()
        self.stop()
        report = self._read_log(0)
        status = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        raise from_report(self._kernel, report, self._files, status)


def _end(process: subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    process.kill()
    process.wait()
