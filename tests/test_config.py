"""What ``minicnn config`` says of the GPU: nothing to those who use none, and all it needs to those who do."""

import importlib.util

import pytest

from minicnn.backend import gpu_state
from minicnn.backend.gpu_state import Cupy, Libraries, State
from minicnn.backend.nvidia_driver import Driver, Gpu
from minicnn.config import get_config, show_config

H100 = Gpu("NVIDIA H100 80GB HBM3", 90, 85 * 10**9, 84 * 10**9)
T4 = Gpu("Tesla T4", 75, 16 << 30)
BUILDS = {"cupy-cuda12x": "14.2.0"}
CUPY = Cupy("14.2.0", 12, gpus=2)
NVRTC = Libraries((12, 9), (50, 75, 90, 121))
WORKING = State(Driver((12, 4), (H100, T4)), BUILDS, CUPY, NVRTC)


@pytest.fixture
def found(monkeypatch):
    """Let this be what is found; ml_dtypes is there."""

    def set_to(state, ml_dtypes=True):
        monkeypatch.setattr(gpu_state, "look", lambda: state)
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: {"ml_dtypes": ml_dtypes or None}[name])

    return set_to


def gpu_notes():
    return [note for note in get_config()["notes"] if note.startswith("cuda")]


def test_one_quiet_line_where_nobody_uses_a_gpu(found):
    found(State(cupy=Cupy(error="ModuleNotFoundError: No module named 'cupy'")), ml_dtypes=False)
    told = get_config()
    assert list(told) == ["minicnn", "Python", "NumPy", "BLAS", "threads", "GPU", "notes"]
    assert told["GPU"] == "none: no NVIDIA driver, no CuPy"
    assert gpu_notes() == []


def test_all_there_is_where_it_works(found):
    found(WORKING)
    told = get_config()
    assert list(told)[5:] == ["GPU", "driver", "CuPy", "NVRTC", "notes"]
    assert told["GPU"].splitlines() == [
        "cuda:0 NVIDIA H100 80GB HBM3, sm_90, 78.2 free of 79.2 GiB",
        "cuda:1 Tesla T4, sm_75, 16.0 GiB",
    ]
    assert told["driver"] == "knows CUDA 12.4"
    assert told["CuPy"] == "cupy-cuda12x 14.2.0"
    assert told["NVRTC"] == "12.9, compiles for sm_50 to sm_121"
    assert gpu_notes() == []


def test_each_gpu_has_its_line(found, capsys):
    found(WORKING)
    show_config()
    assert (
        "\nGPU        cuda:0 NVIDIA H100 80GB HBM3, sm_90, 78.2 free of 79.2 GiB\n"
        "           cuda:1 Tesla T4, sm_75, 16.0 GiB\n"
        "driver     knows CUDA 12.4\n"
    ) in capsys.readouterr().out


def test_a_gpu_and_no_cupy(found):
    found(State(Driver((13, 0), (T4,)), cupy=Cupy(error="ModuleNotFoundError: No module named 'cupy'")))
    told = get_config()
    assert (told["GPU"], told["CuPy"], told["NVRTC"]) == ("cuda:0 Tesla T4, sm_75, 16.0 GiB", "none", "none")
    assert gpu_notes() == [
        'cuda: CuPy is not installed, which computes on the GPU; run pip install "minicnn[cuda13]", for the driver '
        "knows CUDA 13.0"
    ]


def test_a_cupy_and_no_driver(found, capsys):
    found(State(None, BUILDS, Cupy("14.2.0", 12, error="no driver"), NVRTC))
    show_config()
    out = capsys.readouterr().out
    assert "\nGPU        none\ndriver     none\nCuPy       cupy-cuda12x 14.2.0\n" in out
    assert "\nnote: cuda: CuPy 14.2.0 (cupy-cuda12x) is there and NVIDIA's driver is not; install" in out


def test_a_cupy_built_from_source_and_two_builds(found):
    found(State(None, {}, CUPY, NVRTC))
    assert get_config()["CuPy"] == "14.2.0"
    found(State(None, {"cupy-cuda12x": "14.2.0", "cupy": "13.6.0"}, CUPY, NVRTC))
    assert get_config()["CuPy"] == "cupy-cuda12x 14.2.0, cupy 13.6.0"


def test_what_keeps_a_part_from_working_is_noted_where_the_rest_works(found):
    found(WORKING, ml_dtypes=False)
    assert gpu_notes() == [
        "cuda: bfloat16 needs ml_dtypes, which is not installed; run pip install ml_dtypes"
    ]
    found(State(WORKING.driver, {"cupy-cuda12x": "13.6.0"}, Cupy("13.6.0", 12, gpus=2), NVRTC))
    assert gpu_notes() == [
        "cuda: minicnn is tested with CuPy 14, and CuPy 13.6.0 has no bfloat16; run pip install -U cupy-cuda12x"
    ]


def test_what_is_wrong_is_noted_alone(found):
    found(State(Driver((12, 4), (T4,)), BUILDS, CUPY, Libraries(missing=("NVRTC",))), ml_dtypes=False)
    (note,) = gpu_notes()
    assert note.startswith("cuda: CuPy 14.2.0 (cupy-cuda12x) and the kernels need NVRTC, not found; ")
