"""The ladder of convolution on the emulator: every version and every instance held to double precision."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from cuda_convolutions import AMPLIFYING, BFLOAT16, CASES, answers, case_of, draw, hold, only, to_tf32
from cuda_emulator import Emulator
from emulated import MODES, launcher, needs_compiler

from minicnn.backend import kernels
from minicnn.backend.cuda_source import kernel, source
from minicnn.backend.ladder import conv2d
from minicnn.backend.ladder.conv2d_forward import LADDER, conv2d_forward
from minicnn.geometry import Window2d

FLOAT, DOUBLE, HALF = map(np.dtype, (np.float32, np.float64, np.float16))
VERSIONS = {
    **dict.fromkeys(("v1", "v2", "v3", "v4"), (FLOAT, DOUBLE)),
    **dict.fromkeys(("v5", "v6", "v7"), (FLOAT,)),
    "v8": (HALF, BFLOAT16),
}
ONE_OUTPUT_A_THREAD = ("v1", "v2")  # no tiles, and slow to emulate
INSTANCES = [
    instance
    for name in source("conv2d_forward").kernels
    for instance in conv2d.instances(name)
    if instance.template or instance.index == "long long"  # the others are all that their version has
]
DTYPES = {"float": FLOAT, "double": DOUBLE, "__half": HALF, "__nv_bfloat16": BFLOAT16}


def label(instance):
    values = map(str, instance.template.values())
    return "-".join((instance.kernel[-2:], instance.element, instance.index.replace(" ", "_"), *values))


def check(on, case, version, dtype, relu=False, bias=True):
    """Hold one version to what double precision makes of the numbers that it multiplies."""
    arrays = draw(case, dtype)
    x, w, b = arrays.x, arrays.w, arrays.b if bias else None
    y = conv2d_forward(on, x, w, b, window=case.window, groups=case.groups, relu=relu, version=version)
    if version == "v7":
        x, w = to_tf32(x), to_tf32(w)
    added = arrays.b.astype(np.float64) if bias else np.zeros(1)
    exact = answers(case, x, w, arrays.g).y + added
    magnitude = answers(case, np.abs(x), np.abs(w), arrays.g).y + np.abs(added)
    assert y.dtype == dtype
    hold(y, np.maximum(exact, 0) if relu else exact, magnitude, terms=w[0].size + 1)


def is_made_for(instance, case):
    channels = case.weight_shape[3]
    fits = instance.template.get("kKernel", 0) in conv2d.known_kernels(case.window)
    return fits and channels % instance.template.get("kVector", 1) == 0


def test_the_table_lists_the_versions():
    assert {"conv2d_forward": {v: (f"conv2d_forward_{v}",) for v in VERSIONS}} == LADDER


@needs_compiler
@pytest.mark.parametrize(
    ("version", "case"),
    [
        pytest.param(version, case, id=f"{version}-{case}")
        for version in VERSIONS
        for case in CASES
        if not (version in ONE_OUTPUT_A_THREAD and case.name.startswith("tiles"))
    ],
)
def test_every_version(version, case):
    for dtype in VERSIONS[version]:
        check(launcher(), case, version, dtype)


@needs_compiler
@pytest.mark.parametrize("version", VERSIONS)
def test_bias_and_relu(version):
    for dtype in VERSIONS[version]:
        for relu, bias in ((False, False), (True, False), (True, True)):
            check(launcher(), case_of("groups_of_odd_sizes"), version, dtype, relu, bias)


@needs_compiler
@pytest.mark.parametrize("instance", INSTANCES, ids=label)
def test_every_instance(instance, monkeypatch):
    """On what it is made for: vectors or not, 3×3 or 1×1 kernels or any; parts of tiles and whole ones."""
    only(monkeypatch, instance)
    version, done = instance.kernel[-2:], 0
    for name in (
        "primes",
        "vectors",
        "1x1_stride_2",
        "tiles_exactly",
        "groups_of_vectors",
        "stages_go_round",
    ):
        case = case_of(name)
        if is_made_for(instance, case):
            check(launcher(), case, version, DTYPES[instance.element])
            done += 1
    assert done >= 2


@needs_compiler
@pytest.mark.parametrize("mode", MODES, ids=str)
@pytest.mark.parametrize("version", VERSIONS)
def test_in_every_order(version, mode):
    for case in AMPLIFYING[:1] if version in ONE_OUTPUT_A_THREAD else AMPLIFYING:
        check(launcher(**vars(mode)), case, version, VERSIONS[version][0], relu=True)


@needs_compiler
@pytest.mark.parametrize("version", VERSIONS)
def test_what_is_not_a_number_stays_visible(version):
    """Also after the ReLU; and only in the kernel it belongs to."""
    case = case_of("padding_wider_than_the_image")
    dtype = VERSIONS[version][0]
    arrays = draw(case, dtype)
    arrays.w[1] = np.nan
    y = conv2d_forward(launcher(), arrays.x, arrays.w, None, window=case.window, relu=True, version=version)
    seen = answers(case, np.ones_like(arrays.x), np.ones_like(arrays.w), arrays.g).y[..., 1] > 0
    assert np.isnan(y[..., 1][seen]).all()
    assert not np.isnan(y[..., 0]).any()


@needs_compiler
def test_the_default_rounds_nothing_and_writes_where_asked():
    case = case_of("vectors")
    arrays = draw(case)
    out = np.empty(case.output_shape, FLOAT)
    on = launcher()
    assert conv2d_forward(on, arrays.x, arrays.w, window=case.window, out=out) is out
    expected = conv2d_forward(on, arrays.x, arrays.w, window=case.window, version="v6")
    np.testing.assert_array_equal(out, expected)


@needs_compiler
def test_no_bank_conflicts_from_v5_on():
    """As implicit_gemm.cuh counts them: neither where tiles are written nor where they are read."""
    case = case_of("tiles_exactly")
    for version in ("v5", "v6", "v7", "v8"):
        on, started = launcher(check="traffic", order="forward"), []
        on.device.function = lambda kernel, expression, started=started: alone(kernel, expression, started)
        check(on, case, version, VERSIONS[version][0])
        assert started[0].traffic.bank_conflicts == 0
        assert started[0].traffic.shared_requests > 0


def alone(kernel, expression, started):
    """Build one instance, and remember what is started."""
    path = kernel.source.path
    emulator = Emulator(path, [expression], include=[path.parent], check="traffic")
    started.append(emulator.kernel(expression, order="forward"))
    return started[-1]


QUOTIENTS = """
#include "implicit_gemm.cuh"
template <typename Index>
__global__ void quotients(const int* __restrict__ n,  // [M]
                          const int* __restrict__ d,  // [M]
                          int* __restrict__ q,        // [M]
                          int M) {
  for (int i = threadIdx.x; i < M; i += blockDim.x) q[i] = Divisor(d[i]).quotient(n[i]);
}
"""


@needs_compiler
def test_a_divisor_divides(tmp_path):
    """Where rounding matters: multiples of the divisor and their neighbours, up to the largest int."""
    rng = np.random.default_rng(3)
    divisors = np.unique([1, 2, 3, 7, 9, 641, 2**16 - 1, 2**30 + 1, 2**31 - 1, *rng.integers(1, 2**31, 300)])
    multiples = [d * m for d in divisors for m in (0, 1, 2, (2**31 - 1) // d)]
    d = np.repeat(divisors, 12).astype(np.int32)
    n = np.add.outer(multiples, (-1, 0, 1)).reshape(-1).clip(0, 2**31 - 1).astype(np.int32)
    q = np.empty_like(n)
    path = tmp_path / "quotients.cu"
    path.write_text(QUOTIENTS)
    emulator = Emulator(path, ["quotients<int>"], include=[kernels.folder()])
    emulator.kernel("quotients<int>")((1,), (64,), (n, d, q, np.int32(n.size)))
    np.testing.assert_array_equal(q, n // d)


# The choice


def choice(version, shape, kernels_, kernel=3, padding=1, dtype="float32", wide=False):
    """Return the instance that is taken for a convolution on a device of 132 multiprocessors."""
    window = Window2d.of("test", kernel, padding=padding)
    n, height, width, c = shape
    p, q = window.output_size(height, width)
    product = conv2d.Product(n * p * q, kernels_, kernel * kernel * c, c & -c)
    device = SimpleNamespace(capability=90, multiprocessors=132)
    return conv2d.fastest(f"conv2d_forward_{version}", dtype, product, window, wide, device)


@pytest.mark.parametrize(
    ("shape", "kernel_count", "options", "expected"),
    [
        ((32, 56, 56, 256), 256, {}, (4, 3, 128, 128)),
        ((32, 224, 224, 64), 64, {}, (4, 3, 128, 64)),
        ((32, 7, 7, 512), 512, {}, (4, 0, 64, 64)),
        ((32, 56, 56, 256), 256, {"kernel": 1, "padding": 0}, (4, 1, 128, 128)),
        ((32, 56, 56, 256), 256, {"kernel": 1, "padding": 1}, (4, 0, 128, 128)),
        ((32, 56, 56, 256), 256, {"kernel": 5}, (4, 0, 128, 128)),
        ((32, 224, 224, 3), 64, {}, (1, 0, 128, 64)),
        ((32, 56, 56, 256), 256, {"wide": True}, (4, 0, 128, 128)),
    ],
)
def test_the_instance_fits_the_problem(shape, kernel_count, options, expected):
    template = choice("v6", shape, kernel_count, **options).template
    assert tuple(template.values())[:4] == expected


def test_no_more_shared_memory_is_asked_for_than_the_comments_say():
    """That it is not less, the emulator sees: its arrays have exactly the size asked for."""
    product = conv2d.Product(rows=10**5, columns=128, depth=576, vector=64)
    for version, size in (("v6", 81_920), ("v7", 73_728)):
        instance = choice(version, (32, 56, 56, 64), 128)
        assert instance.tile == (128, 128)
        assert instance.shared(product, FLOAT.itemsize) == size
        assert f"{size:,} B of shared memory" in " ".join(kernel(instance.kernel).text.split())


@pytest.mark.parametrize(
    ("dtype", "groups", "channels", "expected"),
    [
        (FLOAT, 1, 16, "v6"),
        (FLOAT, 2, 16, "v6"),
        (FLOAT, 4, 16, "v1"),
        (FLOAT, 4, 128, "v2"),
        (DOUBLE, 2, 16, "v4"),
        (DOUBLE, 4, 16, "v1"),
        (HALF, 4, 16, "v8"),
    ],
)
def test_the_default_version(dtype, groups, channels, expected):
    """Of 16 kernels; a group of 4 would leave tiles mostly empty."""
    x, w = np.empty((1, 4, 4, channels), dtype), np.empty((16, 3, 3, channels // groups), dtype)
    name, _ = launched(x, w, groups=groups)
    assert name == f"conv2d_forward_{expected}"


def test_indices_are_of_64_bits_for_large_arrays_only():
    """The first layer of VGG-16 has a tenth of a billion outputs; 2³¹ need long long, threads of a warp do not."""
    w = SimpleNamespace(shape=(64, 3, 3, 64), dtype=FLOAT)
    for images, index in ((32, "int"), (700, "long long")):
        x = SimpleNamespace(shape=(images, 226, 226, 64), dtype=FLOAT)
        assert {launched(x, w, version=version)[1] for version in ("v1", "v2", "v4", "v6", "v7")} == {index}


def launched(x, w, **options):
    """Return the kernel that a convolution would start, and its Index."""
    started = []
    on = SimpleNamespace(
        device=SimpleNamespace(capability=90, multiprocessors=132),
        empty=lambda shape, dtype: SimpleNamespace(shape=shape, dtype=dtype),
        launch=lambda name, *arguments, **template: started.append((name, template["Index"])),
    )
    conv2d_forward(on, x, w, window=Window2d.of("conv2d", 3), **options)
    return started[0]


def test_what_no_instance_is_made_for():
    assert choice("v6", (1, 8, 8, 4), 4, dtype="float64") == "is not made for float64"
    assert "long long indices" in choice("v6", (1, 8, 8, 3), 4, wide=True)
    assert choice("v5", (1, 8, 8, 3), 4, wide=True).index == "long long"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": "v9"}, "conv2d_forward: version must be one of v1, .*, got 'v9'"),
        ({"version": "v8"}, "conv2d_forward v8: is not made for float32"),
        (
            {"x": np.empty((1, 4, 4, 6), np.complex64)},
            "no version can do this: v1: is not made for complex64",
        ),
        ({"w": np.empty((8, 3, 3, 5), FLOAT)}, "groups must divide the channels and the kernels"),
        ({"groups": 4}, "groups must divide the channels"),
        ({"w": np.empty((8, 2, 3, 6), FLOAT)}, r"the window's kernel must be the weight's, got \(3, 3\)"),
        ({"w": np.empty((8, 3, 6), FLOAT)}, r"input must be \[N, H, W, C\] and weight \[K, R, S, C/groups\]"),
        ({"x": np.empty((1, 4, 4, 0), FLOAT)}, "every size must be at least 1, or 0 for the batch"),
        ({"x": SimpleNamespace(shape=(-1, 4, 4, 6))}, "every size must be at least 1, or 0 for the batch"),
        ({"x": np.empty((1, 2, 2, 6), FLOAT)}, "the kernel must fit into the padded input"),
        ({"out": np.empty((1, 2, 2, 5), FLOAT)}, r"out must .* shape \(1, 2, 2, 8\), got .* \(1, 2, 2, 5\)"),
        ({"x": SimpleNamespace(shape=(2**20, 2**6, 2**6, 6))}, "at most 2147482624 windows, got 40307"),
        ({"x": SimpleNamespace(shape=(1, 2**15, 2**14, 6))}, "at most 2147482624 elements of a padded image"),
    ],
)
def test_what_is_refused(change, message):
    usual = {"x": np.empty((1, 4, 4, 6), FLOAT), "w": np.empty((8, 3, 3, 6), FLOAT)}
    arguments = usual | {"window": Window2d.of("conv2d", 3)} | change
    on = SimpleNamespace(device=SimpleNamespace(capability=90, multiprocessors=132), empty=np.empty)
    with pytest.raises(ValueError, match=message):
        conv2d_forward(on, arguments.pop("x"), arguments.pop("w"), **arguments)


def test_an_older_device_has_fewer_versions():
    on = SimpleNamespace(device=SimpleNamespace(capability=70, multiprocessors=80), empty=np.empty)
    x, w = np.empty((1, 4, 4, 8), HALF), np.empty((8, 3, 3, 8), HALF)
    with pytest.raises(ValueError, match=r"v8: needs compute capability 8.0, the device has 7.0"):
        conv2d_forward(on, x, w, window=Window2d.of("conv2d", 3))
