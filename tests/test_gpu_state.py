"""What keeps the cuda device from working: each situation, its one sentence, and how it is found."""

import importlib
import os
import subprocess
import sys
import types
from importlib import import_module
from pathlib import Path

import pytest
from cuda_emulator import build

from minicnn.backend import gpu_state, nvidia_driver, nvrtc
from minicnn.backend.gpu_state import Cupy, Libraries, State, look, problem, require
from minicnn.backend.nvidia_driver import Driver, Gpu

H100 = Gpu("NVIDIA H100", 90, 80 << 30)
V100 = Gpu("Tesla V100", 70, 16 << 30)
T4 = Gpu("Tesla T4", 75, 16 << 30)
P100 = Gpu("Tesla P100", 60, 16 << 30)
RUBIN = Gpu("NVIDIA R100", 130, 16 << 30)
DRIVER_11, DRIVER_12, DRIVER_13 = (Driver(version, (H100,)) for version in ((11, 4), (12, 4), (13, 0)))
BUILD_12, BUILD_13 = {"cupy-cuda12x": "14.2.0"}, {"cupy-cuda13x": "14.2.0"}
CUPY_12, CUPY_13 = Cupy("14.2.0", 12, gpus=1), Cupy("14.2.0", 13, gpus=1)
BLIND_12 = Cupy("14.2.0", 12, error="CUDARuntimeError: cudaErrorUnknown: unknown error")
NVRTC_12 = Libraries((12, 9), (50, 70, 80, 90, 120))
NVRTC_13 = Libraries((13, 5), (75, 80, 90, 120))
NO_CUPY = Cupy(error="ModuleNotFoundError: No module named 'cupy'")
NO_GPU = "CUDA_ERROR_NO_DEVICE"

WORKING = {
    "CUDA 12": State(DRIVER_12, BUILD_12, CUPY_12, NVRTC_12),
    "CUDA 13": State(DRIVER_13, BUILD_13, CUPY_13, NVRTC_13),
    "a newer driver than CuPy": State(DRIVER_13, BUILD_12, CUPY_12, NVRTC_12),
    "NVRTC of the driver's CUDA, not of CuPy's": State(DRIVER_13, BUILD_12, CUPY_12, NVRTC_13),
    "one GPU of two": State(Driver((12, 4), (P100, H100)), BUILD_12, CUPY_12, NVRTC_12),
    "the oldest GPU that can": State(Driver((12, 0), (V100,)), BUILD_12, CUPY_12, NVRTC_12),
    "CuPy built from source": State(DRIVER_12, {}, CUPY_12, NVRTC_12),
    "one of those shown": State(DRIVER_12, BUILD_12, CUPY_12, NVRTC_12, visible="0"),
    "CuPy 13": State(DRIVER_12, {"cupy-cuda12x": "13.6.0"}, Cupy("13.6.0", 12, gpus=1), NVRTC_12),
    "no version that counts": State(cupy=Cupy("?", None, gpus=2)),
}

SENTENCES = {
    # no CuPy: the extra that the driver's version and the GPUs allow
    'CuPy is not installed, which computes on the GPU; run pip install "minicnn[cuda12]", or "minicnn[cuda13]" for a '
    "driver from 580 on": State(cupy=NO_CUPY),
    'CuPy is not installed, which computes on the GPU; run pip install "minicnn[cuda12]", for the driver knows CUDA '
    "12.4": State(DRIVER_12, cupy=NO_CUPY),
    'CuPy is not installed, which computes on the GPU; run pip install "minicnn[cuda13]", for the driver knows CUDA '
    "13.0": State(DRIVER_13, cupy=NO_CUPY),
    'CuPy is not installed, which computes on the GPU; run pip install "minicnn[cuda12]", and a driver from 525 on, '
    "for this one knows CUDA 11.4 at most": State(DRIVER_11, cupy=NO_CUPY),
    # two builds
    "cupy-cuda12x 14.2.0 and cupy-cuda13x 14.2.0 are installed, and builds of CuPy overwrite each other's files; run "
    'pip uninstall -y cupy-cuda12x cupy-cuda13x, then pip install "minicnn[cuda12]", for the driver knows CUDA '
    "12.4": State(DRIVER_12, BUILD_12 | BUILD_13, CUPY_12, NVRTC_12),
    # a CuPy that does not work at all
    "CuPy 13.6.0 (cupy-rocm-7-0) is built for AMD's GPUs, and the kernels are for NVIDIA's; run pip uninstall -y "
    'cupy-rocm-7-0, then pip install "minicnn[cuda12]", for the driver knows CUDA 12.4': State(
        DRIVER_12, {"cupy-rocm-7-0": "13.6.0"}, Cupy(error="ImportError: libamdhip64.so.7")
    ),
    "CuPy 14.2.0 (cupy-cuda12x) is installed, and importing it raises ImportError: libnvrtc.so.12; run pip uninstall "
    '-y cupy-cuda12x, then pip install "minicnn[cuda13]", for the driver knows CUDA 13.0': State(
        DRIVER_13, BUILD_12, Cupy(error="ImportError: libnvrtc.so.12")
    ),
    "CuPy 12.3.0 (cupy-cuda12x) is older than 13, the first to work with NumPy 2; run pip uninstall -y cupy-cuda12x, "
    'then pip install "minicnn[cuda12]", for the driver knows CUDA 12.4': State(
        DRIVER_12, {"cupy-cuda12x": "12.3.0"}, Cupy("12.3.0", 12, gpus=1)
    ),
    "CuPy 13.6.0 (cupy-cuda11x) is built for CUDA 11, and 12 is the least; run pip uninstall -y cupy-cuda11x, then pip "
    'install "minicnn[cuda13]", for the driver knows CUDA 13.0': State(
        DRIVER_13, {"cupy-cuda11x": "13.6.0"}, Cupy("13.6.0", 11, gpus=1)
    ),
    # the driver
    "CuPy 14.2.0 (cupy-cuda12x) is there and NVIDIA's driver is not; install a driver from 525 on, and start a "
    "container with --gpus all": State(None, BUILD_12, BLIND_12, NVRTC_12),
    "CuPy 14.2.0 (cupy-cuda13x) is there and NVIDIA's driver is not; install a driver from 580 on, and start a "
    "container with --gpus all": State(None, BUILD_13, Cupy("14.2.0", 13), NVRTC_13),
    "CuPy 14.2.0 (cupy-cuda13x) is built for CUDA 13, and the driver knows CUDA 12.4 at most; run pip uninstall -y "
    'cupy-cuda13x, then pip install "minicnn[cuda12]", or install a driver from 580 on': State(
        DRIVER_12, BUILD_13, Cupy("14.2.0", 13), NVRTC_13
    ),
    "CuPy 14.2.0 (cupy-cuda12x) is built for CUDA 12, and the driver knows CUDA 11.4 at most; install a driver from "
    "525 on": State(DRIVER_11, BUILD_12, BLIND_12, NVRTC_12),
    # no GPU
    "CUDA_VISIBLE_DEVICES='-1' in the environment leaves CUDA no GPU to see; unset it, or set it to numbers that "
    "nvidia-smi -L lists": State(Driver((12, 4), (), NO_GPU), BUILD_12, BLIND_12, NVRTC_12, visible="-1"),
    "CUDA_VISIBLE_DEVICES='' in the environment leaves CUDA no GPU to see; unset it, or set it to numbers that "
    "nvidia-smi -L lists": State(Driver((12, 4)), BUILD_12, BLIND_12, NVRTC_12, visible=""),
    "the driver, for CUDA 12.4, finds no GPU: CUDA_ERROR_NO_DEVICE; run nvidia-smi, and where that fails too, restart "
    "the machine or install the driver anew": State(
        Driver((12, 4), (), NO_GPU), BUILD_12, BLIND_12, NVRTC_12
    ),
    "the driver, for CUDA 12.4, finds no GPU: CUDA_ERROR_SYSTEM_DRIVER_MISMATCH; run nvidia-smi, and where that fails "
    "too, restart the machine or install the driver anew": State(
        Driver((12, 4), (), "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH"), BUILD_12, BLIND_12, NVRTC_12, visible="0"
    ),
    "the driver, for CUDA 12.4, finds no GPU: it counts none; run nvidia-smi, and where that fails too, restart the "
    "machine or install the driver anew": State(Driver((12, 4)), BUILD_12, BLIND_12, NVRTC_12),
    "the driver finds NVIDIA H100, and CuPy 14.2.0 (cupy-cuda12x) raises CUDARuntimeError: cudaErrorUnknown: unknown "
    'error; run pip uninstall -y cupy-cuda12x, then pip install "minicnn[cuda12]", for the driver knows CUDA '
    "12.4": State(DRIVER_12, BUILD_12, BLIND_12, NVRTC_12),
    # GPUs too old
    "the kernels need compute capability 7.0, and Tesla P100 has 6.0; a newer GPU is needed": State(
        Driver((12, 4), (P100,)), BUILD_12, CUPY_12, NVRTC_12
    ),
    # what CuPy leaves to be installed beside it: the extra of the CuPy that is there
    "CuPy 14.2.0 (cupy-cuda12x) and the kernels need NVRTC, CUDA's headers, cuBLAS, not found; run pip install "
    '"minicnn[cuda12]"': State(
        DRIVER_13, BUILD_12, CUPY_12, Libraries(missing=("NVRTC", "CUDA's headers", "cuBLAS"))
    ),
    "CuPy 14.2.0 (cupy-cuda13x) and the kernels need cuBLAS, not found beside NVRTC 13.5; run pip install "
    '"minicnn[cuda13]"': State(
        DRIVER_13, BUILD_13, CUPY_13, Libraries((13, 5), (75, 90), missing=("cuBLAS",))
    ),
    "CuPy 14.2.0 (cupy-cuda12x) and the kernels need cuBLAS, not found beside NVRTC 13.5; run pip uninstall -y "
    'cupy-cuda12x, then pip install "minicnn[cuda13]", for the driver knows CUDA 13.0': State(
        DRIVER_13, BUILD_12, CUPY_12, Libraries((13, 5), (75, 90), missing=("cuBLAS",))
    ),
    # NVRTC and the driver, NVRTC and the GPU
    "NVRTC 13.5 compiles for drivers of CUDA 13, and the driver knows CUDA 12.4 at most; run pip uninstall -y "
    'nvidia-cuda-nvrtc, then pip install "minicnn[cuda12]"': State(DRIVER_12, BUILD_12, CUPY_12, NVRTC_13),
    "NVRTC 13.5 compiles for sm_75 to sm_120, and Tesla V100 is sm_70; run pip uninstall -y cupy-cuda13x "
    'nvidia-cuda-nvrtc, then pip install "minicnn[cuda12]"': State(
        Driver((13, 0), (V100, P100)), BUILD_13, CUPY_13, NVRTC_13
    ),
    "NVRTC 13.5 compiles for sm_75 to sm_120, and NVIDIA R100 is sm_130; run pip install -U cuda-toolkit "
    '"minicnn[cuda13]"': State(Driver((13, 0), (RUBIN,)), BUILD_13, CUPY_13, NVRTC_13),
}


@pytest.mark.parametrize("state", WORKING.values(), ids=WORKING)
def test_nothing_is_wrong_where_nothing_is(state):
    assert problem(state) is None


@pytest.mark.parametrize(("sentence", "state"), SENTENCES.items(), ids=map(str, range(len(SENTENCES))))
def test_each_situation_has_its_sentence(sentence, state):
    assert problem(state) == sentence


def test_a_gpu_that_cuda_13_compiles_nothing_for_is_given_cuda_12():
    assert '"minicnn[cuda12]"' in problem(State(Driver((13, 0), (H100, V100)), cupy=NO_CUPY))
    assert '"minicnn[cuda13]"' in problem(State(Driver((13, 0), (H100, P100, T4)), cupy=NO_CUPY))


# How it is found: CuPy


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder of installed packages, with no CuPy but what a test puts there, and no driver."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    without_cupy = [path for path in sys.path if not any(Path(path).glob("cupy*"))]
    monkeypatch.setattr(sys, "path", [str(folder), *without_cupy])
    monkeypatch.setitem(sys.modules, "cupy", None)  # so that it is as it was in the end, whatever a test does
    monkeypatch.delitem(sys.modules, "cupy")
    monkeypatch.setattr(nvidia_driver, "find", lambda: None)
    monkeypatch.setattr(gpu_state, "_checked", None)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return folder


def install(site: Path, name: str, version: str) -> None:
    about = site / f"{name.replace('-', '_')}-{version}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    importlib.invalidate_caches()


def write_cupy(site: Path, source: str) -> None:
    package = site / "cupy"
    package.mkdir()
    (package / "__init__.py").write_text(source)
    importlib.invalidate_caches()


CUPY = """
import types
__version__ = "14.2.0"
runtime = types.SimpleNamespace(runtimeGetVersion=lambda: 12000, getDeviceCount=lambda: 2)
cuda = types.SimpleNamespace(runtime=runtime, cublas=object())
"""

WARNING = """
import warnings
warnings.warn("multiple CuPy packages are installed")
"""

NO_DRIVER = """
def refuse():
    raise RuntimeError("cudaErrorInsufficientDriver: too old\\nfor this")
runtime.getDeviceCount = refuse
"""

BROKEN = """
try:
    raise OSError("libcudart.so.13: cannot open shared object file\\nNo such file")
except OSError as error:
    raise ImportError("=====\\nFailed to import CuPy.\\n=====") from error
"""


def test_nothing_is_found_where_nothing_is(site):
    state = look()
    assert state == State(cupy=Cupy(error=state.cupy.error))
    assert state.cupy.error.startswith("ModuleNotFoundError: No module named 'cupy'")


def test_builds_are_found_by_what_pip_wrote(site, monkeypatch):
    install(site, "cupy-cuda12x", "14.2.0")
    install(site, "cupy-cuda13x", "14.1.0")
    install(site, "cupy-rocm-7-0", "14.0.0")
    install(site, "cupyx-of-another", "1.0")
    write_cupy(site, WARNING + CUPY)
    state = look()
    assert state.builds == {"cupy-cuda12x": "14.2.0", "cupy-cuda13x": "14.1.0", "cupy-rocm-7-0": "14.0.0"}
    assert state.cupy == Cupy("14.2.0", 12, gpus=2)
    with pytest.raises(
        RuntimeError, match=r"^cuda: cupy-cuda12x 14\.2\.0 and cupy-cuda13x 14\.1\.0 and cupy-rocm"
    ):
        require()


def test_why_cupy_finds_no_gpu_is_kept(site):
    write_cupy(site, CUPY + NO_DRIVER)
    assert look().cupy == Cupy("14.2.0", 12, error="RuntimeError: cudaErrorInsufficientDriver: too old")


def test_why_cupy_cannot_be_imported_is_kept_without_its_page_of_advice(site):
    install(site, "cupy-cuda13x", "14.2.0")
    write_cupy(site, BROKEN)
    assert look().cupy == Cupy(error="OSError: libcudart.so.13: cannot open shared object file")
    with pytest.raises(
        RuntimeError, match=r"^cuda: CuPy 14\.2\.0 \(cupy-cuda13x\) is installed, and importing it"
    ):
        require()


def test_what_a_build_left_behind_is_told_from_no_cupy(site):
    install(site, "cupy-cuda12x", "14.2.0")
    assert problem(look()).startswith(
        "CuPy 14.2.0 (cupy-cuda12x) is installed, and importing it raises Module"
    )


def test_a_cupy_that_tells_nothing_of_itself_raises_nothing(site):
    write_cupy(site, "")
    assert look().cupy == Cupy("?", error="AttributeError: module 'cupy' has no attribute 'cuda'")


def test_minicnn_is_imported_without_cupy(site):
    write_cupy(site, "raise SystemExit('imported')")
    here = os.pathsep.join([str(site), str(Path(__file__).parents[1])])
    subprocess.run(
        [sys.executable, "-c", "import minicnn, minicnn.backend.gpu_state"],
        env={**os.environ, "PYTHONPATH": here},
        check=True,
    )


def test_what_works_is_not_looked_at_again(site, monkeypatch):
    write_cupy(site, CUPY)
    looks = []
    monkeypatch.setattr(gpu_state, "look", lambda: looks.append(1) or look())
    require()
    require()
    assert len(looks) == 1
    monkeypatch.setitem(sys.modules, "cupy", types.ModuleType("cupy"))
    with pytest.raises(RuntimeError, match=r"^cuda: "):
        require()
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(RuntimeError, match=r"^cuda: CuPy is not installed"):
        require()
    assert len(looks) == 3


def test_which_gpus_are_hidden_is_kept(site, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert look().visible == "-1"


# How it is found: the libraries


@pytest.fixture
def toolkit(site, monkeypatch):
    """All libraries, by seams; what to take away."""
    install(site, "cupy-cuda12x", "14.2.0")
    write_cupy(site, CUPY)
    pathfinder = types.SimpleNamespace(find_nvidia_header_directory=lambda name: f"/include/{name}")
    monkeypatch.setitem(sys.modules, "cuda", types.SimpleNamespace(pathfinder=pathfinder))
    monkeypatch.setattr(nvrtc, "version", lambda: (12, 9))
    monkeypatch.setattr(nvrtc, "architectures", lambda: (50, 90))
    return pathfinder


def test_all_libraries_are_found(toolkit):
    assert look().libraries == Libraries((12, 9), (50, 90))


def test_each_library_is_missed(toolkit, monkeypatch):
    def refuse():
        raise nvrtc.NvrtcNotFound("not found")

    monkeypatch.setattr(nvrtc, "version", refuse)
    assert look().libraries == Libraries(missing=("NVRTC",))
    toolkit.find_nvidia_header_directory = lambda name: {"cudart": None}[name]
    assert look().libraries.missing == ("NVRTC", "CUDA's headers")
    del import_module("cupy").cuda.cublas
    assert look().libraries.missing == ("NVRTC", "CUDA's headers", "cuBLAS")
    monkeypatch.setitem(sys.modules, "cuda", None)
    assert look().libraries.missing == ("NVRTC", "cuda-pathfinder")


def test_the_libraries_are_looked_for_where_there_is_a_driver(toolkit, monkeypatch):
    monkeypatch.setattr(gpu_state, "_BUILDS", ())
    assert look().libraries == Libraries()
    monkeypatch.setattr(nvidia_driver, "find", lambda: DRIVER_12)
    assert look().libraries.nvrtc == (12, 9)


# How it is found: the driver, through a library with the names and arguments of NVIDIA's

LIBCUDA = r"""
#include <cstdio>
#include <cstdlib>
#include <cstring>

static int told(const char* name, int otherwise) {
  const char* text = std::getenv(name);
  return text ? std::atoi(text) : otherwise;
}
static bool begun = false;

extern "C" {
int cuDriverGetVersion(int* version) { *version = told("FAKE_VERSION", 12040); return told("FAKE_STUB", 0); }
int cuInit(unsigned flags) { begun = flags == 0; return told("FAKE_INIT", 0); }
int cuGetErrorName(int status, const char** name) {
  *name = status == 100 ? "CUDA_ERROR_NO_DEVICE" : nullptr;
  return *name ? 0 : 1;
}
int cuDeviceGetCount(int* count) { *count = 2; return begun ? 0 : 3; }
int cuDeviceGet(int* device, int index) { *device = 40 + index; return 0; }
int cuDeviceGetName(char* name, int size, int device) {
  std::snprintf(name, size, "GPU %d", device);
  return told("FAKE_LOST", 0) == device ? 100 : 0;
}
int cuDeviceGetPCIBusId(char* bus, int size, int device) {
  std::snprintf(bus, size, "0000:%d:00.0", device);
  return 0;
}
int cuDeviceTotalMem_v2(size_t* bytes, int device) { *bytes = (size_t)device << 30; return 0; }
int cuDeviceGetAttribute(int* value, int which, int device) {
  *value = which == 75 ? device - 32 : which == 76 ? 6 : -1;
  return 0;
}

static int open_ = 0;
int nvmlInit_v2() { ++open_; return told("FAKE_NVML", 0); }
int nvmlShutdown() { --open_; return 0; }
int sessions() { return open_; }
int nvmlDeviceGetHandleByPciBusId_v2(const char* bus, void** gpu) {
  *gpu = (void*)(size_t)(std::strcmp(bus, "0000:41:00.0") ? 0x100000007 : 0x100000008);
  return told("FAKE_BUS", 0);
}
struct memory { unsigned long long total, free, used; };
int nvmlDeviceGetMemoryInfo(void* gpu, memory* all) {
  if ((size_t)gpu >> 32 != 1) return 2;
  bool second = (size_t)gpu == 0x100000008;
  all->total = (second ? 41ull + told("FAKE_BOARD", 0) : 40ull) << 30;
  all->free = (second ? 30ull : 20ull) << 30;
  all->used = all->total - all->free;
  return 0;
}
}
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    if (reason := build.available()) is not None:
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("driver")
    source, library = folder / "driver.cpp", folder / "libcuda.so.1"
    source.write_text(LIBCUDA)
    subprocess.run([*build.compiler(), "-shared", "-fPIC", source, "-o", library], check=True)
    return str(library)


@pytest.fixture
def driver(library, monkeypatch):
    monkeypatch.setattr(nvidia_driver, "CUDA", library)
    monkeypatch.setattr(nvidia_driver, "NVML", library)


GPU_40 = Gpu("GPU 40", 86, 40 << 30, 20 << 30)
GPU_41 = Gpu("GPU 41", 96, 41 << 30, 30 << 30)


def test_the_driver_and_its_gpus(driver):
    assert nvidia_driver.find() == Driver((12, 4), (GPU_40, GPU_41))


def test_no_driver_and_one_that_is_only_there_to_be_linked_with(driver, monkeypatch):
    monkeypatch.setenv("FAKE_STUB", "34")
    assert nvidia_driver.find() is None
    monkeypatch.setattr(nvidia_driver, "CUDA", "libcuda-of-nobody.so.1")
    assert nvidia_driver.find() is None


@pytest.mark.parametrize(
    ("variable", "value", "error"),
    [("FAKE_INIT", "100", NO_GPU), ("FAKE_INIT", "803", "error 803"), ("FAKE_LOST", "41", NO_GPU)],
)
def test_the_error_of_a_driver_that_tells_of_no_gpu(driver, monkeypatch, variable, value, error):
    monkeypatch.setenv(variable, value)
    monkeypatch.setenv("FAKE_VERSION", "13010")
    assert nvidia_driver.find() == Driver((13, 1), (), error)


@pytest.mark.parametrize("variable", ["FAKE_NVML", "FAKE_BUS"])
def test_free_memory_is_unknown_where_it_is_not_told(driver, monkeypatch, variable):
    monkeypatch.setenv(variable, "1")
    assert [gpu.free for gpu in nvidia_driver.find().gpus] == [None, None]


def test_free_memory_is_unknown_without_nvml(driver, monkeypatch):
    monkeypatch.setattr(nvidia_driver, "NVML", "libnvidia-ml-of-nobody.so.1")
    assert [gpu.free for gpu in nvidia_driver.find().gpus] == [None, None]


def test_what_is_free_on_a_board_is_not_said_of_a_share_of_it(driver, monkeypatch):
    monkeypatch.setenv("FAKE_BOARD", "41")
    assert [gpu.free for gpu in nvidia_driver.find().gpus] == [20 << 30, None]
