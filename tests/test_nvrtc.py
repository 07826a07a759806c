"""CUDA C++ compiled without a GPU: code for each architecture, what it takes, and errors that show the line."""

import sys

import pytest
from cuda_files import SCALE

from minicnn.backend import nvrtc
from minicnn.backend.cuda_source import kernel


def why_not():
    try:
        nvrtc.version()
    except nvrtc.NvrtcNotFound as error:
        return str(error)
    return None


needs_nvrtc = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))


@needs_nvrtc
@pytest.mark.parametrize("architecture", [70, 80, 90])
def test_code_names_and_resources_of_each_instance(cuda_files, architecture):
    expressions = [*kernel("scale_v1").expressions, *kernel("scale_v2").expressions]
    compiled = nvrtc.compile_file(cuda_files / "scale.cu", expressions, architecture)
    assert compiled.cubin.startswith(b"\x7fELF")
    assert list(compiled.names) == list(compiled.resources) == expressions
    for expression, name in compiled.names.items():
        assert name.encode() in compiled.cubin
        used = compiled.resources[expression]
        assert 0 < used.registers <= 40
        assert used.shared == (132 if expression.startswith("scale_v2") else 0)
        assert used.stack == used.spilled == 0


@needs_nvrtc
def test_spills_and_stack_frames_are_seen(tmp_path):
    path = tmp_path / "spill.cu"
    path.write_text(
        "template <int n> __global__ void __launch_bounds__(1024) spill(float* x) {\n"
        "  float kept[n];\n"
        "  for (int i = 0; i < n; ++i) kept[i] = x[i * 7];\n"
        "  __syncthreads();\n"
        "  for (int i = 0; i < n; ++i) x[i] = kept[(i * 5 + (int)x[0]) % n] + kept[i];\n"
        "}\n"
    )
    used = nvrtc.compile_file(path, ["spill<100>"], 80).resources["spill<100>"]
    assert used.stack >= 400
    path.write_text(
        "template <int n> __global__ void __launch_bounds__(1024) spill(float* x) {\n"
        "  float kept[n];\n"
        "#pragma unroll\n"
        "  for (int i = 0; i < n; ++i) kept[i] = x[i * 7];\n"
        "  __syncthreads();\n"
        "#pragma unroll\n"
        "  for (int i = 0; i < n; ++i) x[i * 3] = kept[i] - 2 * kept[(i * 37) % n];\n"
        "}\n"
    )
    assert nvrtc.compile_file(path, ["spill<100>"], 80).resources["spill<100>"].spilled > 0


@needs_nvrtc
def test_an_error_shows_the_line_of_source(cuda_files):
    path = cuda_files / "scale.cu"
    path.write_text(SCALE.replace("y[i] = static_cast", "z[i] = static_cast"))
    with pytest.raises(nvrtc.CompileError) as error:
        nvrtc.compile_file(path, ["scale_v1<float, int>"], 80)
    message = str(error.value)
    assert message.startswith("nvrtc: scale.cu does not compile for sm_80\nscale.cu(")
    assert 'identifier "z" is undefined' in message
    assert "if (i < size) z[i] = static_cast<T>" in message


@needs_nvrtc
def test_an_instance_that_cannot_be_and_an_architecture_unknown(cuda_files):
    path = cuda_files / "scale.cu"
    with pytest.raises(nvrtc.CompileError, match="scale_v9"):
        nvrtc.compile_file(path, ["scale_v9<float>"], 80)
    with pytest.raises(
        ValueError, match=r"nvrtc: version \d+\.\d+ compiles for sm_\d+ to sm_\d+, not for sm_20"
    ):
        nvrtc.compile_file(path, ["scale_v1<float, int>"], 20)


def test_no_compiler_is_one_clear_error(monkeypatch):
    monkeypatch.setitem(sys.modules, "cuda.pathfinder", None)
    monkeypatch.setitem(sys.modules, "cuda", None)
    nvrtc._library.cache_clear()
    nvrtc.version.cache_clear()
    with pytest.raises(
        nvrtc.NvrtcNotFound, match=r"cuda-pathfinder.*is not installed; install minicnn\[nvrtc\]"
    ):
        nvrtc.version()


def test_a_pathfinder_that_finds_nothing(monkeypatch):
    def nothing(name):
        raise RuntimeError("not found")

    monkeypatch.setattr(nvrtc, "_pathfinder", lambda function: nothing)
    nvrtc._library.cache_clear()
    nvrtc.version.cache_clear()
    with pytest.raises(nvrtc.NvrtcNotFound, match=r"library was not found; install minicnn\[nvrtc\]"):
        nvrtc.version()
    monkeypatch.setattr(nvrtc, "_pathfinder", lambda function: lambda name: None)
    nvrtc._cuda_headers.cache_clear()
    with pytest.raises(nvrtc.NvrtcNotFound, match=r"cuda_fp16.h\) were not found"):
        nvrtc._cuda_headers()
