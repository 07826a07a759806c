"""What a file of kernels says of itself is read as it stands, and a contract that is not kept is named."""

import re

import pytest
from cuda_files import SCALE

from minicnn.backend.cuda_source import Parameter, Source, kernel, source, sources

pytestmark = pytest.mark.usefixtures("cuda_files")


def test_a_file_its_header_and_its_versions():
    file = source("scale")
    assert file.header.startswith("scale.cu: y = by · x\n\nPurpose: something to launch.")
    assert file.versions == {
        "scale_v1": "one thread an element",
        "scale_v2": "four elements a thread, for one load",
        "spread_v1": "a struct, a scalar of the sums' type and a pointer that may be null",
    }
    assert list(file.kernels) == list(file.versions)
    assert list(file.files) == ["scale.cu", "shapes.cuh"]
    assert file.structs == {"Shape": ("N", "G")}


def test_a_kernel_and_its_contract():
    found = kernel("scale_v2")
    assert found.text == "v2: four at a time."
    assert found.template == (("typename", "T"), ("typename", "Index"), ("int", "kVector"), ("bool", "kFlag"))
    assert found.expressions == ("scale_v2<float, int, 4, true>", "scale_v2<float, int, 1, false>")
    assert (found.registers, found.shared, found.needs) == (40, 132, 80)
    assert found.place == f"scale.cu:{SCALE[: SCALE.index('scale_v2(')].count(chr(10)) + 1}"
    assert kernel("scale_v1").needs == 70


def test_parameters():
    assert kernel("scale_v1").parameters == (
        Parameter("x", "T", pointer=True, const=True, shape=("N", "C"), restrict=True),
        Parameter("y", "T", pointer=True, shape=("N", "C"), restrict=True),
        Parameter("size", "Index"),
        Parameter("by", "float"),
    )
    x, rows, y, by, shape, negative = kernel("spread_v1").parameters
    assert x.shape == ("N", "C/G", "2*H")
    assert (rows.type, rows.const, rows.optional, y.optional) == ("int", True, True, False)
    assert (by.type, shape.type, negative.type) == ("accumulator_t<T>", "Shape", "bool")
    assert kernel("fill_v1").parameters[-1] == Parameter("seed", "unsigned long long")


def test_names_that_are_not_there():
    with pytest.raises(ValueError, match=r"no kernel 'scale_v3' in other.cu, scale.cu"):
        kernel("scale_v3")
    with pytest.raises(ValueError, match=r"no file lrn.cu; there are other, scale"):
        source("lrn")
    assert list(sources()) == ["other", "scale"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "// budget: 24 registers, 0 B shared\n",
            "",
            r"scale.cu:\d+: scale_v1 needs lines .* got \['instances'\]",
        ),
        ("budget: 24 registers", "budget: few registers", "scale_v1 needs lines"),
        ("// instances: <float, int>, <float, long long>, <__half, int>\n", "", r"got \['budget'\]"),
        ("template <typename T>\n__global__", "__global__", "every __global__ function must be a template"),
        ("<float, long long>, <__half", "<float, long long> <__half", r"scale_v1 needs lines"),
        ("<__half, int>\n", "<__half, int\n", r"scale_v1 needs lines"),
        ("[N, C]\n             Index", "\n             Index", "the pointer y needs its shape beside it"),
        ("spread_v1(const", "scale_v1(const", "must be a template, and named once"),
    ],
)
def test_a_broken_contract_is_named(tmp_path, old, new, message):
    assert old in SCALE
    (tmp_path / "scale.cu").write_text(SCALE.replace(old, new))
    with pytest.raises(ValueError, match=message):
        _ = Source(tmp_path / "scale.cu").kernels


def test_a_header_that_is_missing(tmp_path):
    (tmp_path / "shapes.cuh").unlink()
    with pytest.raises(FileNotFoundError, match=re.escape("shapes.cuh")):
        _ = source("scale").files
