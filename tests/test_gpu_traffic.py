"""What the pages on the GPU's convolution say: counts, lines and pictures are those of the kernels as they are."""

import json
import re
import sys
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest
from emulated import needs_compiler

from minicnn.backend.cuda_source import kernel

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
import gpu_traffic
from kernel_traffic import pages, pictures
from kernel_traffic.bounds import Bound, flops_a_byte, moved
from kernel_traffic.requests import Request, Tally, cycles, sectors, words_of_parts
from kernel_traffic.svg import Drawing

ROOT = Path(__file__).parents[1]
RESULTS = json.loads((ROOT / "benchmarks" / "results" / "gpu_traffic.json").read_text())["results"]
FOUND = RESULTS["versions"]
PAGES = sorted((ROOT / "docs" / "convolution_on_the_gpu").glob("*.md"))
AGAIN = "run: python benchmarks/gpu_traffic.py && python benchmarks/readme.py"


# The record


@needs_compiler
@pytest.mark.parametrize("version", ["v5", "v8"])
def test_the_record_is_what_the_kernels_move_now(version):
    assert gpu_traffic.counted(version) == FOUND[version], AGAIN


def test_the_record_is_of_the_problem_and_the_instances_there_are():
    assert RESULTS["problem"] == gpu_traffic.COUNTED.as_dict(), AGAIN
    assert tuple(FOUND) == gpu_traffic.VERSIONS
    for version, found in FOUND.items():
        assert found["kernel"] in kernel(f"conv2d_forward_{version}").expressions, AGAIN


@pytest.mark.parametrize("version", gpu_traffic.VERSIONS)
def test_formulas_give_what_was_counted(version):
    by_formula = gpu_traffic.predicted(version, gpu_traffic.COUNTED)
    found = FOUND[version]
    counted = {name: found["global"][name]["bytes"] for name in "xw"}
    assert by_formula == {**counted, "multiply_adds": found["multiply_adds"]}
    assert RESULTS["layer"]["versions"][version] == gpu_traffic.predicted(version, gpu_traffic.LAYER), AGAIN


def test_formulas_know_padding_and_tiles_that_are_not_full():
    problem = gpu_traffic.Problem((1, 3, 3, 8), (130, 3, 3, 8), padding=1)
    assert problem.samples_inside == 4 * 4 + 4 * 6 + 9  # corners, edges, the middle
    assert gpu_traffic.predicted("v1", problem)["multiply_adds"] == 49 * 8 * 130
    tiles = gpu_traffic.predicted("v4", problem)
    rows, columns = gpu_traffic.instance_of("v4", problem).tile
    down, across = -(-9 // rows), -(-130 // columns)
    assert tiles == {
        "x": 4 * 49 * 8 * across,
        "w": 4 * 130 * 72 * down,
        "multiply_adds": down * rows * across * columns * 72,
    }


# What the pages' sentences say


def test_the_numbers_in_the_prose():
    products = gpu_traffic.COUNTED.flops // 2
    per_product = {version: moved(found) / products for version, found in FOUND.items()}
    assert per_product == {
        "v1": 33,
        "v2": 8,
        "v3": 1 / 2,
        "v4": 1 / 16,
        "v5": 1 / 16,
        "v6": 1 / 16,
        "v7": 1 / 16,
        "v8": 1 / 32,
    }
    read = {version: found["shared"]["read"]["bytes"] / products for version, found in FOUND.items()}
    assert read == {"v1": 0, "v2": 0, "v3": 8, "v4": 1, "v5": 1, "v6": 1, "v7": 3 / 16, "v8": 3 / 32}
    loads = {
        version: sum(found["global"][name]["requests"] for name in "xw") for version, found in FOUND.items()
    }
    assert loads["v1"] == loads["v2"] == FOUND["v3"]["shared"]["read"]["requests"] == 589_824
    assert loads["v4"] == 4 * loads["v5"]
    numbers = RESULTS["problem"]["numbers"]
    assert numbers["x"] + numbers["w"] == 86_528


def test_what_the_machine_delivers():
    found = {version: flops_a_byte(version) for version in ("v1", "v7", "v8")}
    rounded = {version: (round(of_device), of_shared) for version, (of_device, of_shared) in found.items()}
    assert rounded == {"v1": (20, 2), "v7": (148, 16), "v8": (295, 32)}


def test_which_versions_have_bank_conflicts():
    for version, found in FOUND.items():
        assert found["shared"]["read"]["conflicts"] == 0
        written = found["shared"]["written"]
        assert written["conflicts"] * 2 == (written["cycles"] if version in ("v3", "v4") else 0)


def test_the_bound_of_each_version_is_no_worse_but_where_the_page_says_so():
    shares = {version: Bound.of(version, found).share for version, found in FOUND.items()}
    worse = [later for (earlier, a), (later, b) in pairwise(shares.items()) if b < a]
    assert worse == ["v3", "v7"]  # v7's is of a peak eight times as high
    assert shares["v1"] < 0.05
    assert 0.9 < shares["v6"] < 1


# The pages


def test_the_quoted_lines_are_in_the_kernels_or_it_is_said_that_they_are_not():
    text = (ROOT / "kernels" / "implicit_gemm.cuh").read_text()
    for places in pages.CODE.values():
        for line in pages.code(places).splitlines()[3:-1]:
            assert (
                line == "  …" or line in text or line in (ROOT / "kernels" / "conv2d_forward.cu").read_text()
            )
    with pytest.raises(ValueError, match=r"implicit_gemm.cuh has no lines from 'x' to 'no such' in 'v3:'"):
        pages.code([("implicit_gemm.cuh", "v3:", "x", "no such")])


def test_every_page_shows_its_version():
    assert {page.name for page in PAGES} == {"README.md", *pages.FILES.values()}
    for version, name in pages.FILES.items():
        text = (PAGES[0].parent / name).read_text(encoding="utf-8")
        for picture in (f"{version}_lanes.svg", f"{version}_flow.svg"):
            assert picture in text


def test_what_was_measured_is_shown_once_there_is_a_record(tmp_path, monkeypatch):
    (tmp_path / "gpu_traffic.json").write_text(
        json.dumps({"results": RESULTS, "commit": "", "date": "", "command": ""})
    )
    monkeypatch.setattr(pages, "RESULTS", tmp_path)
    measured = "| **measured** on a GPU, all layers together, of the peak |"
    assert f"{measured} not yet | not yet |" in pages.counts("v2")
    assert "not yet measured" in pages.speed()
    timed = {"median_us": 2.0, "unit": "fp32", "percent_of_flops": 42, "percent_of_bandwidth": 1}
    row = {
        "operation": "conv2d_forward",
        "dtype": "float32",
        "layer": "a",
        "versions": {"v2": timed},
        "peers": {},
    }
    (tmp_path / "gpu_ladder.json").write_text(json.dumps({"results": {"rows": [row]}}))
    assert f"{measured} not yet | 42 % |" in pages.counts("v2")
    assert "not yet" not in pages.speed()


# The pictures


def test_the_pictures_are_those_of_the_record():
    drawn = {f"{name}.svg": drawing.svg() for name, drawing in pictures.pictures(RESULTS)}
    there = {path.name: path.read_text(encoding="utf-8") for path in pictures.PICTURES.glob("*")}
    assert drawn == there, AGAIN


def test_every_picture_is_shown_and_can_be_read():
    texts = [page.read_text(encoding="utf-8") for page in PAGES]
    shown = {name for text in texts for name in re.findall(r"pictures/gpu/(\w+\.svg)", text)}
    assert shown == {path.name for path in pictures.PICTURES.glob("*")}
    for path in pictures.PICTURES.glob("*"):
        picture = ElementTree.parse(path).getroot()
        title = picture.find("{*}title")
        assert title is not None
        assert title.text
        width, height = float(picture.get("width")), float(picture.get("height"))
        for box in picture.iter("{*}rect"):
            x, y, w, h = (float(box.get(name)) for name in ("x", "y", "width", "height"))
            assert x >= 0
            assert y >= 0
            assert x + w <= width
            assert y + h <= height


def test_text_of_a_picture_is_escaped():
    picture = Drawing(10, 10, "a < b")
    picture.text(1, 2, "x & y")
    assert [element.text for element in ElementTree.fromstring(picture.svg())][::2] == ["a < b", "x & y"]


# Counting


def request(offsets, size=4, array="a", written=False):
    lanes = (*offsets, *(None,) * (32 - len(offsets)))
    return Request(array, written, size, lanes)


@pytest.mark.parametrize(
    ("offsets", "size", "expected"),
    [
        ([0], 4, 1),
        ([0] * 32, 4, 1),
        (range(0, 128, 4), 4, 4),
        (range(0, 32 * 128, 128), 4, 32),
        (range(0, 512, 16), 16, 16),
        ([28, 32], 4, 2),
        ([24], 16, 2),
    ],
)
def test_sectors(offsets, size, expected):
    assert sectors(request(offsets, size)) == expected


@pytest.mark.parametrize(
    ("offsets", "size", "expected"),
    [
        ([0] * 32, 4, [1]),  # one word for all
        (range(0, 128, 4), 4, [1]),
        (range(0, 32 * 68, 68), 4, [1]),  # lines of 17 words
        (range(0, 32 * 64, 64), 4, [16]),  # of 16: two banks
        ([0, 128], 4, [2]),
        (range(0, 256, 8), 8, [1, 1]),
        (range(0, 512, 16), 16, [1, 1, 1, 1]),
        (range(0, 32 * 80, 80), 16, [1, 1, 1, 1]),
        (range(0, 32 * 64, 64), 16, [4, 4, 4, 4]),
        (range(0, 16, 2), 2, [1]),  # two halves of a word
        ([0, 128, 256], 16, [3]),  # a part without lanes takes no cycle
    ],
)
def test_cycles_of_banks(offsets, size, expected):
    assert [cycles(part) for part in words_of_parts(request(offsets, size))] == expected


def test_tally_adds_up_by_array_and_direction():
    tally = Tally()
    for array, written in (("x", False), ("x", False), ("y", True), ("a", True), ("b", True), ("a", False)):
        tally.add(request(range(0, 32 * 64, 64), 4, array, written))
    assert tally.sum_of("x", written=False) == {"requests": 2, "bytes": 256, "sectors": 64}
    assert tally.sum_of("x", written=True) == {"requests": 0, "bytes": 0, "sectors": 0}
    assert tally.sum_of("ab", written=True) == {"requests": 2, "bytes": 256, "cycles": 32, "conflicts": 30}
    assert tally.outputs[3] == {(192, 4)}
    assert tally.shown["x", False].active[1] == 64
