"""What goes wrong in a kernel, with the place; and how it is read out of a sanitizer's report."""

from __future__ import annotations

import re
from collections.abc import Collection

__all__ = ["EmulatorError", "Place", "from_report"]

Place = tuple[str, int]
"""A file and a line."""


class EmulatorError(RuntimeError):
    """A kernel that cannot be compiled, is called wrongly, or does wrong.

    Attributes
    ----------
    kind : str
        What is wrong, in a word or two: 'compilation', 'arguments', 'data race', 'heap-buffer-overflow',
        'divergent barrier', …
    places : tuple of (file, line)
        Where: the first is the line to look at; a data race has two.
    report : str
        All that the compiler or sanitizer wrote.
    """

    def __init__(self, message: str, kind: str, places: tuple[Place, ...] = (), report: str = "") -> None:
        super().__init__(message)
        self.kind = kind
        self.places = places
        self.report = report

    @property
    def file(self) -> str | None:
        """The file of the first place."""
        return self.places[0][0] if self.places else None

    @property
    def line(self) -> int | None:
        """The line of the first place."""
        return self.places[0][1] if self.places else None


def from_report(kernel: str, report: str, files: Collection[str], status: str) -> EmulatorError:
    """The error that a sanitizer's report tells of, or a process that `status` says has ended.

    Parameters
    ----------
    kernel : str
        The instance that ran.
    report : str
        What the process wrote before it ended.
    files : collection of str
        The user's own files: frames in all others are passed over.
    status : str
        How the process ended, in words.
    """
    if "AddressSanitizer: " in report or "ERROR: ThreadSanitizer: " in report:  # any, ended by a signal
        kind, what, places = _bad_access(report, files)
    elif "ThreadSanitizer: " in report:
        kind, what, places = _race(report, files)
    elif "runtime error: " in report:
        kind, what, places = _undefined(report)
    else:
        kind, what, places = "crash", f"the process ended with {status}", ()
    notes = re.findall(r"^EMULATOR: (.*)$", report, re.MULTILINE)
    return EmulatorError("; ".join([f"{kernel}: {what}", *notes]), kind, places, report)


_Found = tuple[str, str, tuple[Place, ...]]  # the kind, what to say, and where


def _undefined(report: str) -> _Found:
    found = re.search(r"^(.*?):(\d+):\d+: runtime error: (.*)$", report, re.MULTILINE)
    assert found is not None
    file, line, what = found.groups()
    kind = "misaligned" if "misaligned" in what else "undefined behaviour"
    return kind, f"{kind} at {file}:{line}: {what}", ((file, int(line)),)


def _bad_access(report: str, files: Collection[str]) -> _Found:
    kind = _first(r"Sanitizer: ([\w-]+)", report)
    access = _first(r"^((?:READ|WRITE) of size \d+)", report)
    stack = report[report.index("Sanitizer: ") :].split("\n\n")[0]
    frames = _frames(stack, files)
    what = f"{kind}, {access.lower()}" if access else kind
    return kind, what + _at(frames), tuple(frames[:1])


def _race(report: str, files: Collection[str]) -> _Found:
    """A data race: two accesses, each with its stack."""
    kind = _first(r"ThreadSanitizer: ([\w -]+?)(?: \(|$)", report)
    texts, places = [], []
    for stack in report.split("\n\n")[:2]:
        access = _first(r"^  (.* of size \d+) at", stack)
        number = _first(r" by thread (T\d+)", stack)
        thread = _first(rf"^  Thread {number} '(.*?)'", report)
        frames = _frames(stack, files)
        if access:
            texts.append(f"{access.lower()}{_at(frames)}" + (f" by {thread}" if thread else ""))
            places += frames[:1]
    return kind, f"{kind}: {' and '.join(texts)}", tuple(places)


def _at(frames: list[Place]) -> str:
    texts = [f"{file}:{line}" for file, line in frames]
    return " at " + ", called at ".join(texts[:2]) if texts else ""


def _frames(stack: str, files: Collection[str]) -> list[Place]:
    """The places of a stack that are in the user's files, innermost first."""
    found = re.findall(r"^ +#\d+ .*? (/.*?):(\d+)(?=[:\s]|$)", stack, re.MULTILINE)
    return [(file, int(line)) for file, line in found if file in files]


def _first(pattern: str, text: str) -> str:
    found = re.search(pattern, text, re.MULTILINE)
    return found.group(1) if found else ""
