"""From a .cu file to an executable: g++, the runtime beside it, and a cache by content."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from .errors import EmulatorError, Place
from .rewrite import Source, rewrite

__all__ = ["CHECKS", "available", "build", "default_cache"]

HERE = Path(__file__).resolve().parent

_COMMON = [
    "-std=c++17",
    "-g2",
    "-gdwarf-4",
    "-fno-omit-frame-pointer",
    "-fno-strict-aliasing",
    "-ffp-contract=off",
]
if platform.machine() == "x86_64":
    _COMMON += ["-fcf-protection=none"]  # a shadow stack would not know of the fibers'
_KERNELS = {
    "none": ["-O1"],
    "address": ["-Og", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"],
    "threads": ["-O1", "-fsanitize=thread"],
    # Instrumented as for ThreadSanitizer, but linked with callbacks that count; a float4 is to stay one access.
    "traffic": ["-O1", "-fsanitize=thread", "-fno-tree-sra"],
}
_RUNTIME = {
    "none": [],
    "address": ["-DEMULATOR_ADDRESS"],
    "threads": ["-DEMULATOR_THREADS"],
    "traffic": ["-DEMULATOR_TRAFFIC"],
}
_LINK = {
    "none": [],
    "address": ["-fsanitize=address,undefined"],
    "threads": ["-fsanitize=thread"],
    "traffic": [],
}

MOST_CACHED = 1 << 30
"""Bytes that compiled kernels may take up before the oldest are deleted."""

CHECKS = tuple(_KERNELS)
"""What a kernel can be compiled to be checked for."""


def compiler() -> list[str]:
    """The command of the compiler: g++, or what CXX names."""
    return shlex.split(os.environ.get("CXX", "g++"))


def available() -> str | None:
    """None if kernels can be emulated here, else the reason why not."""
    command = compiler()[0]
    return (
        None
        if shutil.which(command)
        else f"the CUDA emulator needs a C++ compiler, and there is no {command}"
    )


def default_cache() -> Path:
    """The folder that holds what was compiled before."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "cuda_emulator"


def build(
    files: Sequence[Source], kernels: Sequence[str], include: Sequence[Path], check: str, cache: Path
) -> Path:
    """The executable that runs these kernels, compiled unless the cache has it.

    Parameters
    ----------
    files : sequence of Source
        The .cu file and all it includes by quotes.
    kernels : sequence of str
        The instances, as C++ writes them: ``'scale<float, 4>'``.
    include : sequence of Path
        Folders to look for included files in.
    check : str
        One of `CHECKS`.
    cache : Path

    Raises
    ------
    EmulatorError
        If there is no compiler, or it refuses the source: with its first error, and the line of that.
    """
    if (reason := available()) is not None:
        raise EmulatorError(reason, "compiler")
    cache.mkdir(parents=True, exist_ok=True)
    own = _own_files()
    runtime = cache / f"runtime-{check}-{_digest(own, _COMMON, _RUNTIME[check])}.o"
    texts = [f"{source.path}\n{source.text}" for source in files]
    key = _digest(own, texts, kernels, map(str, include), _COMMON, _KERNELS[check])
    executable = cache / f"{files[0].path.stem}-{check}-{key}"
    if executable.exists():
        executable.touch()
        return executable
    with tempfile.TemporaryDirectory(dir=cache) as name:
        folder = Path(name)
        kernel_source = _write_sources(folder, files, kernels, include)
        folders = [f"-I{HERE / 'include'}", *(f"-I{path}" for path in include)]
        jobs = [[*_KERNELS[check], *folders, "-include", "cuda_emulator.h", "-c", str(kernel_source)]]
        outputs = [folder / "kernels.o"]
        if not runtime.exists():
            jobs.append(
                ["-O2", "-g0", "-fno-builtin", *_RUNTIME[check], "-c", str(HERE / "runtime" / "runtime.cpp")]
            )
            outputs.append(folder / "runtime.o")
        _compile(jobs, outputs, [str(source.path) for source in files])
        if len(outputs) == 2:
            outputs[1].replace(runtime)
        runtime.touch()
        linked = folder / "linked"
        _compile([[*_LINK[check], str(outputs[0]), str(runtime)]], [linked], [])
        linked.replace(executable)  # at once: another process may be looking for it
    _trim(cache)
    return executable


def _trim(cache: Path) -> None:
    """Delete what was used longest ago, until the cache is small enough."""
    found = []
    for path in cache.iterdir():
        with contextlib.suppress(FileNotFoundError):  # another process may delete, too
            status = path.stat()
            if path.is_file():
                found.append((status.st_mtime, status.st_size, path))
    total = 0
    for _, size, path in sorted(found, reverse=True):
        total += size
        if total > MOST_CACHED:
            path.unlink(missing_ok=True)


def _own_files() -> list[str]:
    files = sorted([*(HERE / "include").iterdir(), *(HERE / "runtime").iterdir()])
    return [f"{path.name}\n{path.read_text()}" for path in files]


def _digest(*parts: str | Iterable[str]) -> str:
    texts = [part if isinstance(part, str) else "\0".join(part) for part in parts]
    return hashlib.sha256("\0\0".join([*compiler(), *texts]).encode()).hexdigest()[:24]


def _write_sources(
    folder: Path, files: Sequence[Source], kernels: Sequence[str], include: Sequence[Path]
) -> Path:
    names = {source.path: str(folder / f"{i}-{source.path.name}") for i, source in enumerate(files)}
    for source in files:
        Path(names[source.path]).write_text(rewrite(source, include, names), "utf-8")
    rows = "".join(f'    describe("{kernel}", &{kernel}),\n' for kernel in kernels)
    main = folder / "kernels.cpp"
    main.write_text(
        f'#include "{names[files[0].path]}"\n#include "kernel_table.h"\n'
        f'#line 1 "the list of kernels"\nconst emulator::Kernel emulator::kernels[] = {{\n{rows}}};\n'
        f"const int emulator::kernel_count = {len(kernels)};\n"
    )
    return main


def _compile(jobs: Sequence[Sequence[str]], outputs: Sequence[Path], files: Sequence[str]) -> None:
    """Run several compilations at once; the first error of any is raised."""
    english = {**os.environ, "LC_ALL": "C"}
    running = [
        subprocess.Popen(
            [*compiler(), *_COMMON, *job, "-o", str(output)], stderr=subprocess.PIPE, text=True, env=english
        )
        for job, output in zip(jobs, outputs, strict=True)
    ]
    reports = [process.communicate()[1] for process in running]
    for process, report in zip(running, reports, strict=True):
        if process.returncode != 0:
            raise _compile_error(report, files)


def _compile_error(report: str, files: Sequence[str]) -> EmulatorError:
    found = re.search(r"^(.*?):(\d+):(?:\d+:)? (?:fatal )?error: (.*)$", report, re.MULTILINE)
    if found is None:
        why = (
            "inline assembly cannot run here: give it a body for CUDA_EMULATOR"
            if "Assembler" in report
            else ""
        )
        return EmulatorError(f"the compiler failed: {why}\n{report}", "compilation", report=report)
    place = (found.group(1), int(found.group(2)))
    places: tuple[Place, ...] = (place,) if place[0] in files else ()
    message = f"cannot compile {place[0]}:{place[1]}: {found.group(3)}\n{report}"
    return EmulatorError(message, "compilation", places, report)
