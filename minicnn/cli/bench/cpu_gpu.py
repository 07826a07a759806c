"""Compare CPU and GPU on whole networks and layers, and find the batch size from which on the GPU pays.

A step is timed on the CPU, on the GPU with its input there, and on the GPU with the input sent there and the result
fetched; the three take turns, and before that the answers are compared.  The columns: GFLOP of a step, as the
definition counts them, and FLOP a byte read or written; the median in milliseconds, and the speed as a factor to the
CPU's.  With --assume there stands beside it, or where there is no GPU in its place, what a GPU would take by its data
sheet: a prediction.

For example:
  minicnn bench cpu-gpu lenet5
  minicnn bench cpu-gpu lenet5 vgg16 --assume h100 --out cpu_gpu
  minicnn bench cpu-gpu resnet18 --batch 1 8 64 --layers --training
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ...atomic import replacing
from ..arguments import number, whole_number

if TYPE_CHECKING:
    from ...bench.cpu_gpu import Curve, Gpu, Settings

_RECORD, _CHART = "cpu_gpu.json", "cpu_gpu.svg"
_WIDEST = 1000  # columns, where no terminal shows them: more than any table takes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("models", nargs="*", metavar="MODEL", help="default: the eight classic ones")
    parser.add_argument(
        "--batch",
        type=whole_number(1),
        nargs="+",
        metavar="N",
        help="images at a time (default: 1 2 4 8 16 32 64 128)",
    )
    parser.add_argument("--layers", action="store_true", help="each layer by itself too")
    parser.add_argument("--training", action="store_true", help="a training step too")
    parser.add_argument(
        "--assume", metavar="GPU", help="predict what it would take, such as h100; list names them"
    )
    parser.add_argument("--device", default="cuda", metavar="NAME", help="which GPU (default: cuda)")
    parser.add_argument(
        "--threads", type=whole_number(1), metavar="N", help="of the CPU (default: one a CPU)"
    )
    parser.add_argument(
        "--budget",
        type=number,
        default=5.0,
        metavar="SECONDS",
        help="that the samples of a batch size may take (default: 5)",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="write a record (JSON) and a chart (SVG)")
    parser.add_argument(
        "--smoke", action="store_true", help="one sample of one or two images, as the tests do"
    )


def run(arguments: argparse.Namespace) -> int:
    """Measure network after network and print each; return 1 if the GPU failed or gave a wrong answer."""
    from rich.console import Console

    from ... import set_num_threads
    from ...bench.cpu_gpu import GPUS, curves
    from ...bench.cpu_gpu.report import layers_table, table, verdict

    if arguments.assume == "list":
        print("\n".join(f"{name:<8} {gpu.title}" for name, gpu in GPUS.items()))
        return 0
    _check_out(arguments.out)
    why = _why_no_gpu(arguments.device)
    settings = _settings(arguments, None if why else arguments.device)
    if arguments.threads:
        set_num_threads(arguments.threads)
    if why:
        print(f"no GPU: {why}\n{_without_gpu(settings.assumed)}\n")
    console = Console() if sys.stdout.isatty() else Console(width=_WIDEST)
    done = []
    with Console(stderr=True).status("", refresh_per_second=1) as status:  # it is drawn while times are taken
        for curve in curves(settings, status.update):
            done.append(curve)
            console.print(table(curve, settings.assumed))
            if curve.layers:
                console.print(layers_table(curve, settings.assumed))
            print("\n".join(verdict(curve)), end="\n\n")
            if arguments.out:  # after each: what was measured is not lost with the rest
                _write(arguments, settings, done, why)
    if arguments.out:
        _draw(arguments.out, settings, done)
    return 1 if any(point.failed for curve in done for point in (*curve.points, *curve.layers)) else 0


def _check_out(folder: Path | None) -> None:
    """Refuse before the work what could not be written after it."""
    if folder is None:
        return
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"bench cpu-gpu: --out must name a folder, {str(folder)!r} is a file")
    if not folder.resolve().parent.is_dir():
        raise ValueError(
            f"bench cpu-gpu: --out names a folder in {str(folder.parent)!r}, and there is no such folder"
        )


def _why_no_gpu(device: str) -> str | None:
    """Return in a sentence what is missing for the GPU to compute; None if nothing is.

    Raises
    ------
    ValueError
        If this is not the name of a GPU.
    """
    from ... import backend

    if device.partition(":")[0] != "cuda":
        raise ValueError(f"bench cpu-gpu: --device must be 'cuda' or 'cuda:N', got {device!r}")
    try:
        backend.get(device)
    except RuntimeError as error:
        return str(error).removeprefix("cuda: ")
    return None


def _without_gpu(assumed: Gpu | None) -> str:
    """Return what stands in its place."""
    if assumed is not None:
        return f"The CPU is measured; what {assumed.title} would take is predicted from its data sheet."
    return (
        "The CPU alone is measured; --assume h100 adds what a GPU would take, predicted from its data sheet."
    )


def _settings(arguments: argparse.Namespace, device: str | None) -> Settings:
    from ...bench.benchmark import MODELS, choose
    from ...bench.cpu_gpu import Settings, named
    from ...bench.cpu_gpu.measure import BATCHES
    from ...bench.turns import Timing
    from ...models import list_models

    names = arguments.models or (["lenet5"] if arguments.smoke else list(MODELS))
    batches = arguments.batch or ((1, 2) if arguments.smoke else BATCHES)
    return Settings(
        models=choose("model", names, list_models()),
        modes=("inference", "training") if arguments.training else ("inference",),
        batches=sorted(set(batches)),
        layers=arguments.layers,
        device=device,
        assumed=named(arguments.assume) if arguments.assume else None,
        timing=Timing(arguments.budget, rounds=1 if arguments.smoke else None),
    )


def _write(arguments: argparse.Namespace, settings: Settings, done: Sequence[Curve], why: str | None) -> None:
    from ...bench.cpu_gpu import results
    from ...bench.recording import record_of

    gpu, versions = _gpu(settings)
    found = record_of(results(done, gpu, why, settings.assumed), _command(arguments), versions=versions)
    arguments.out.mkdir(exist_ok=True)
    with replacing(arguments.out / _RECORD) as temporary:
        temporary.write_text(json.dumps(found, indent=1) + "\n")


def _draw(folder: Path, settings: Settings, done: Sequence[Curve]) -> None:
    from ...backend.machine import cpu_name
    from ...bench.cpu_gpu.chart import draw

    written = [str(folder / _RECORD)]
    try:
        draw(folder / _CHART, done, cpu_name(), _gpu(settings)[0], settings.assumed)
        written.append(str(folder / _CHART))
    except ModuleNotFoundError:
        print('no chart without matplotlib: pip install "minicnn[plot]"')
    print(f"written to {' and '.join(written)}")


def _gpu(settings: Settings) -> tuple[str | None, dict[str, str]]:
    """Return the GPU's name, and the version of what drives it."""
    if settings.device is None:
        return None, {}
    import cupy  # pyright: ignore[reportMissingImports]  (an extra)

    number = settings.device.partition(":")[2]
    device = cupy.cuda.Device(int(number) if number else None)
    name = cupy.cuda.runtime.getDeviceProperties(device.id)["name"].decode()
    return name, {"cupy": cupy.__version__}


def _command(arguments: argparse.Namespace) -> str:
    """Return the command that measures this again."""
    words = ["minicnn", "bench", "cpu-gpu", *arguments.models]
    words += ["--batch", *map(str, arguments.batch)] if arguments.batch else []
    words += [f"--{flag}" for flag in ("layers", "training", "smoke") if getattr(arguments, flag)]
    device = arguments.device if arguments.device != "cuda" else None
    given = {"assume": arguments.assume, "device": device, "threads": arguments.threads}
    words += [word for name, value in given.items() if value for word in (f"--{name}", str(value))]
    return shlex.join(words)
