"""Every kernel: its file's header, its exports and its host's table agree; it compiles within its budget."""

import importlib
import re
from functools import cache

import pytest
from test_nvrtc import needs_nvrtc

from minicnn.backend import kernels
from minicnn.backend.cuda_source import sources
from minicnn.backend.nvrtc import compile_file

ARCHITECTURES = (70, 80, 90)
SECTIONS = ("Purpose:", "Shapes:", "Threads:", "Cost:", "Versions:")
FILES = sorted(sources())


def ladder(name):
    return importlib.import_module(f"minicnn.backend.ladder.{name}").LADDER


def test_there_are_the_kernels():
    assert FILES == [
        "batch_norm",
        "col2im",
        "conv2d_backward_data",
        "conv2d_backward_weight",
        "conv2d_forward",
        "dropout",
        "im2col",
        "lrn",
        "pool",
        "sgd",
        "softmax_cross_entropy",
        "winograd",
    ]


@pytest.mark.parametrize("name", FILES)
def test_header_exports_and_host_agree(name):
    file = sources()[name]
    for section in SECTIONS:
        assert re.search(rf"^{section}", file.header, re.MULTILINE), section
    assert list(file.versions) == list(file.kernels)
    launched = [one for versions in ladder(name).values() for names in versions.values() for one in names]
    assert set(launched) == set(file.kernels)


@pytest.mark.parametrize("name", FILES)
def test_each_kernel_says_what_it_is_and_has_an_instance_of_each_index(name):
    file = sources()[name]
    assert all(len(kernel.text) > 30 for kernel in file.kernels.values())
    for operation, versions in ladder(name).items():
        names = {one for kernels in versions.values() for one in kernels}
        instances = [i for one in names for i in file.kernels[one].instances]
        assert any("long long" in i for i in instances), operation


def test_no_two_files_share_a_name():
    names = [name for file in sources().values() for name in file.kernels]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("name", FILES)
def test_no_floating_point_atomics_and_no_ptx_outside_its_header(name):
    for file, text in sources()[name].files.items():
        code = re.sub(r"//.*", "", text)
        assert "atomicAdd" not in code
        assert file == "ptx.cuh" or not re.search(r"\basm\b|CUDA_EMULATOR", code), file


def test_lines_fit_a_screen():
    for path in [*kernels.folder().glob("*.cu"), *kernels.folder().glob("*.cuh")]:
        for number, line in enumerate(path.read_text().splitlines(), 1):
            assert len(line) <= 120, f"{path.name}:{number}"
            assert line == line.rstrip(), f"{path.name}:{number} ends in a blank"


@cache
def resources(name, architecture):
    """What each instance takes of the device, by its expression; compiled once for all tests."""
    file = sources()[name]
    able = [kernel for kernel in file.kernels.values() if kernel.needs <= architecture]
    return compile_file(
        file.path, [one for kernel in able for one in kernel.expressions], architecture
    ).resources


@needs_nvrtc
@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda architecture: f"sm_{architecture}")
@pytest.mark.parametrize("name", FILES)
def test_every_instance_compiles_within_its_budget(name, architecture):
    for kernel in sources()[name].kernels.values():
        for expression in kernel.expressions if kernel.needs <= architecture else ():
            used = resources(name, architecture)[expression]
            assert used.registers <= kernel.registers, expression
            assert used.shared <= kernel.shared, expression
            assert used.stack == used.spilled == 0, expression


@needs_nvrtc
@pytest.mark.parametrize("name", FILES)
def test_no_budget_is_idle(name):
    """A budget far above what is used would let a worse kernel pass."""
    for kernel in sources()[name].kernels.values():
        able = [architecture for architecture in ARCHITECTURES if architecture >= kernel.needs]
        used = [resources(name, architecture)[one] for architecture in able for one in kernel.expressions]
        assert kernel.shared == max(one.shared for one in used), kernel.name
        assert kernel.registers <= max(one.registers for one in used) + 16, kernel.name
