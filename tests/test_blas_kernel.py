"""OpenBLAS's kernel: the better one is asked for where that is known to help, and nowhere else."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from minicnn import blas_kernel
from minicnn.blas_kernel import better_kernel, choose_kernel
from minicnn.config import _describe_blas, _openblas_notes

FLAGS = "fpu sse sse2 avx f16c fma avx2 avx512f avx512dq avx512cd avx512bw avx512vl avx512_vnni"


def cpuinfo(vendor="AuthenticAMD", family=26, flags=FLAGS, processors=2):
    one = f"processor\t: 0\nvendor_id\t: {vendor}\ncpu family\t: {family}\nmodel\t\t: 2\nflags\t\t: {flags}\n"
    return (one + "power management: ts ttp tm [13]\n\n") * processors


ZEN_5 = cpuinfo()


def without(flag):
    return " ".join(f for f in FLAGS.split() if f != flag)


@pytest.mark.parametrize(
    ("text", "kernel"),
    [
        (ZEN_5, "SkylakeX"),
        (cpuinfo(family=25), "SkylakeX"),  # Zen 4
        (cpuinfo(family=25, flags="fma avx2"), None),  # Zen 3
        (cpuinfo(family=23, flags="fma avx2"), None),  # Zen 2
        (cpuinfo(family=27), None),  # unheard of
        (cpuinfo(vendor="GenuineIntel", family=6), None),
        (cpuinfo(vendor="GenuineIntel"), None),
        *((cpuinfo(flags=without(f"avx512{part}")), None) for part in ("f", "dq", "cd", "bw", "vl")),
        (cpuinfo(flags=""), None),
        (ZEN_5[: ZEN_5.index("avx512vl")], None),  # cut off in the midst of the flags
        # The first processor decides: what is said of another does not add to it.
        (cpuinfo(vendor="GenuineIntel", processors=1) + ZEN_5, None),
        ("", None),
        ("processor : 0\nFeatures : fp asimd\n", None),
        ("no colon\n: no name\n", None),
    ],
)
def test_only_processors_known_to_get_an_older_kernel(text, kernel):
    assert better_kernel(text) == kernel


@pytest.fixture
def fresh(monkeypatch):
    """As if this processor were a Zen 5, with NumPy from a wheel and not loaded yet."""
    monkeypatch.delitem(sys.modules, "numpy")
    monkeypatch.setattr(blas_kernel, "read_cpuinfo", lambda: ZEN_5)
    monkeypatch.setattr(blas_kernel, "_numpy_is_a_wheel", lambda: True)


@pytest.mark.usefixtures("fresh")
def test_it_is_asked_for():
    environ = {}
    assert choose_kernel(environ) == "SkylakeX"
    assert environ == {"OPENBLAS_CORETYPE": "SkylakeX"}


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize("set_to", ["Haswell", "Cooperlake", "SkylakeX", ""])
def test_what_the_user_has_set_stays(set_to):
    environ = {"OPENBLAS_CORETYPE": set_to}
    assert choose_kernel(environ) is None
    assert environ == {"OPENBLAS_CORETYPE": set_to}


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize("unlike", ["NumPy is loaded", "no wheel", "another processor"])
def test_else_nothing_is_done(unlike, monkeypatch):
    if unlike == "NumPy is loaded":
        monkeypatch.setitem(sys.modules, "numpy", sys)
    elif unlike == "no wheel":
        monkeypatch.setattr(blas_kernel, "_numpy_is_a_wheel", lambda: False)
    else:
        monkeypatch.setattr(blas_kernel, "read_cpuinfo", lambda: "")
    environ = {}
    assert choose_kernel(environ) is None
    assert environ == {}


@pytest.mark.parametrize(
    ("platform", "machine"), [("win32", "x86_64"), ("darwin", "x86_64"), ("linux", "aarch64")]
)
def test_other_systems_are_left_alone(platform, machine, monkeypatch):
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(("", "", "", "", machine)), raising=False)
    monkeypatch.setattr("builtins.open", lambda *arguments, **options: pytest.fail("was read"))
    assert blas_kernel.read_cpuinfo() == ""


def test_where_the_file_cannot_be_read_nothing_is_known(monkeypatch):
    def refuse(*arguments, **options):
        raise PermissionError

    monkeypatch.setattr("builtins.open", refuse)
    assert blas_kernel.read_cpuinfo() == ""


# From the outside: a NumPy that tells what it finds in the environment when it is loaded, on a processor that says it
# is a Zen 5.

NUMPY = "import os; print(os.environ.get('OPENBLAS_CORETYPE'), flush=True); os._exit(0)"

ZEN_5_FILE = f"""
import builtins, io, os, sys
real = builtins.open
builtins.open = lambda file, *a, **o: io.StringIO({ZEN_5!r}) if file == "/proc/cpuinfo" else real(file, *a, **o)
sys.platform = "linux"
os.uname = lambda: os.uname_result(("Linux", "", "", "", "x86_64"))
"""


@pytest.fixture
def told(tmp_path):
    """Return what runs Python with these arguments, and tells what the NumPy loaded there has found."""
    (tmp_path / "numpy").mkdir()
    (tmp_path / "numpy" / "__init__.py").write_text(NUMPY)
    (tmp_path / "numpy.libs").mkdir()
    (tmp_path / "numpy.libs" / "libscipy_openblas64_-32a4b2a6.so").touch()
    (tmp_path / "zen_5.py").write_text(ZEN_5_FILE)
    root = Path(blas_kernel.__file__).parents[1]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(root)])}
    environ.pop("OPENBLAS_CORETYPE", None)

    def run(code, **more):
        command = [sys.executable, "-c", f"import zen_5, sys\n{code}"]
        return subprocess.run(
            command, env=environ | more, capture_output=True, text=True, timeout=60, check=True
        ).stdout.strip()

    run.folder = tmp_path
    return run


ENTRIES = {
    "import": "import minicnn",
    "a part of it": "from minicnn.backend import cpu",
    "the console script": "from minicnn.cli import main; sys.exit(main(['config']))",
    "python -m minicnn": "import runpy; runpy.run_module('minicnn', run_name='__main__')",
    "the pytest plugin": "import minicnn.testing.plugin",
}


@pytest.mark.parametrize("code", ENTRIES.values(), ids=ENTRIES)
def test_numpy_finds_it_set_when_it_is_loaded(code, told):
    assert told(code) == "SkylakeX"


def test_numpy_finds_what_the_user_has_set(told):
    assert told("import minicnn", OPENBLAS_CORETYPE="Haswell") == "Haswell"


def test_a_numpy_that_is_no_wheel_is_left_alone(told):
    (told.folder / "numpy.libs" / "libscipy_openblas64_-32a4b2a6.so").unlink()
    assert told("import minicnn") == "None"


# What show_config says of it

HASWELL = {"internal_api": "openblas", "version": "0.3.31", "architecture": "Haswell"}


@pytest.mark.parametrize(
    ("text", "set_to", "said", "unsaid"),
    [
        (ZEN_5, None, ["minicnn imported before NumPy", "OPENBLAS_CORETYPE=SkylakeX"], ["stands now"]),
        ("", None, ["OPENBLAS_CORETYPE=SkylakeX"], ["before NumPy", "stands now"]),
        (ZEN_5, "Haswell", ["OPENBLAS_CORETYPE=SkylakeX", "where Haswell stands now"], ["before NumPy"]),
    ],
)
def test_the_remedy_is_one_that_works(text, set_to, said, unsaid, monkeypatch):
    monkeypatch.setattr(blas_kernel, "read_cpuinfo", lambda: text)
    monkeypatch.delenv("OPENBLAS_CORETYPE", raising=False)
    if set_to:
        monkeypatch.setenv("OPENBLAS_CORETYPE", set_to)
    (note,) = _openblas_notes(HASWELL, {"X86_V4"})
    assert all(part in note for part in said)
    assert not any(part in note for part in unsaid)


@pytest.mark.parametrize(
    ("chosen", "kernel", "asked"),
    [("SkylakeX", "SkylakeX", True), (None, "SkylakeX", False), ("SkylakeX", "Haswell", False)],
)
def test_it_is_said_that_minicnn_has_asked_for_it(chosen, kernel, asked, monkeypatch):
    monkeypatch.setattr(blas_kernel, "CHOSEN", chosen)
    assert ("minicnn has asked" in _describe_blas({**HASWELL, "architecture": kernel}, "")) == asked
