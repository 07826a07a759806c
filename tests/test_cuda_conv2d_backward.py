"""The ladders of convolution's gradients on the emulator: against double precision, their adjoint, and themselves."""

from __future__ import annotations

from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
from cuda_convolutions import AMPLIFYING, BFLOAT16, CASES, Case, answers, draw, hold, only, to_tf32
from emulated import MODES, launcher, needs_compiler, poisoned
from ladder import ORDERS, in_mode, in_turn, same_bits, wide

from minicnn.backend.cuda_source import source
from minicnn.backend.ladder import conv2d
from minicnn.backend.ladder import conv2d_backward_weight as weight
from minicnn.backend.ladder.conv2d_backward_data import LADDER as DATA
from minicnn.backend.ladder.conv2d_backward_data import conv2d_backward_data
from minicnn.geometry import Window2d

pytestmark = needs_compiler

LADDER = DATA | weight.LADDER
DIRECTIONS = ("conv2d_backward_data", "conv2d_backward_weight")
VERSIONS = [(direction, version) for direction in DIRECTIONS for version in LADDER[direction]]
BIAS = list(LADDER["conv2d_backward_bias"])
ELEMENTS = {"float": np.float32, "double": np.float64, "__half": np.float16, "__nv_bfloat16": BFLOAT16}
DTYPES = [np.dtype(element) for element in ELEMENTS.values()]
INSTANCES = [
    instance
    for direction in DIRECTIONS
    for launched in LADDER[direction].values()
    for name in launched
    if name.startswith(direction) and name.rpartition("_")[2] not in ("turn", "sum")
    for instance in conv2d.instances(name)
]

SOME = (
    "one_number",
    "a_17_channels",
    "1x1_33_channels",
    "1x1_stride_2",
    "groups_of_vectors",
    "tiles_exactly",
)


def named(name):
    return next(case for case in CASES if case.name == name)


def types(version):
    return DTYPES[2:] if version == "v8" else DTYPES[:2] if version < "v5" else DTYPES[:1]


def label(instance):
    constants = "x".join(map(str, instance.template.values()))
    return (
        f"{instance.kernel[16:]}-{instance.element.strip('_')}-{instance.index.replace(' ', '-')}-{constants}"
    )


def gradient(on, direction, case, arrays, version, **options):
    options |= {"window": case.window, "groups": case.groups, "version": version}
    if direction == "conv2d_backward_data":
        return conv2d_backward_data(on, arrays.g, arrays.w, case.shape, **options)
    return weight.conv2d_backward_weight(on, arrays.x, arrays.g, **options)


def exactly(direction, case, arrays):
    """Return the gradient in double precision, and how many products each number of it sums."""
    exact = answers(case, arrays.x, arrays.w, arrays.g)
    if direction == "conv2d_backward_data":
        return exact.dx, arrays.w[..., 0].size // case.groups
    return exact.dw, arrays.g[..., 0].size


def check(on, direction, case, version, element, **options):
    """Hold one version to what double precision makes of the same numbers."""
    arrays = draw(case, element)
    found = gradient(on, direction, case, arrays, version, **options)
    seen = {name: getattr(arrays, name) for name in "xwg"}
    if version == "v7":
        seen = {name: to_tf32(array) for name, array in seen.items()}
    exact, terms = exactly(direction, case, SimpleNamespace(**seen))
    magnitudes = SimpleNamespace(**{name: np.abs(array) for name, array in seen.items()})
    assert found.dtype == options.get("dtype", element)
    hold(found, exact, exactly(direction, case, magnitudes)[0], terms)


@pytest.mark.parametrize("number", range(len(CASES)), ids=[case.name for case in CASES])
@pytest.mark.parametrize(("direction", "version"), VERSIONS)
def test_every_version_on_every_case(direction, version, number):
    for dtype in types(version):
        check(in_turn(number), direction, CASES[number], version, dtype)


@pytest.mark.parametrize("instance", INSTANCES, ids=label)
def test_every_instance(instance, monkeypatch):
    """Where it is made for the case: each for some."""
    only(monkeypatch, instance)
    direction, _, version = instance.kernel.rpartition("_")
    done = 0
    for number, case in enumerate(map(named, SOME)):
        try:
            check(in_turn(number), direction, case, version, np.dtype(ELEMENTS[instance.element]))
        except ValueError as refusal:
            if "is not made for" not in str(refusal):
                raise
            continue
        done += 1
    assert done > 1


# Few threads, for the thread sanitizer takes its time for each; but the depth goes round all stages of v6 to v8, and
# what is contiguous is multiples of 8, which even halves copy asynchronously.
LONG = {
    "conv2d_backward_data": Case("long", (1, 3, 5, 8), 64, (1, 3), padding=(0, 0, 1, 1)),
    "conv2d_backward_weight": Case("long", (2, 8, 11, 8), 8, (1, 3), padding=(0, 0, 1, 1)),
}


@pytest.mark.parametrize("mode", MODES, ids=str)
@pytest.mark.parametrize(("direction", "version"), VERSIONS)
def test_every_mode(direction, version, mode):
    few = [named("one_window") if version < "v3" else LONG[direction]]
    for case in few if mode.check == "threads" else few + AMPLIFYING:
        check(in_mode(mode), direction, case, version, types(version)[0])


@pytest.mark.parametrize(("direction", "version"), VERSIONS)
def test_the_same_bits_in_every_order(direction, version):
    dtype = types(version)[0]
    for case in AMPLIFYING:
        arrays = draw(case, dtype)
        runs = [gradient(launcher(order=order), direction, case, arrays, version) for order in ORDERS]
        same_bits([[run] for run in runs])


@pytest.mark.parametrize(("direction", "version"), VERSIONS)
def test_small_integers_are_exact(direction, version):
    """No rounding: ⟨g, conv(x, w)⟩ = ⟨dx, x⟩ = ⟨dw, w⟩ to the last bit, in every precision."""
    case = named("groups_of_odd_sizes")
    for dtype in types(version):
        rng = np.random.default_rng(3)
        shapes = {"x": case.shape, "w": case.weight_shape, "g": case.output_shape}
        arrays = SimpleNamespace(
            **{name: rng.integers(-1, 2, shape).astype(dtype) for name, shape in shapes.items()}
        )
        found = gradient(launcher(), direction, case, arrays, version)
        of = arrays.x if direction == "conv2d_backward_data" else arrays.w
        exact = (answers(case, arrays.x, arrays.w, arrays.g).y * arrays.g.astype(float)).sum()
        assert (found.astype(float) * of.astype(float)).sum() == exact != 0


@pytest.mark.parametrize("stride", range(1, 5))
@pytest.mark.parametrize("dilation", range(1, 5))
def test_every_residue(stride, dilation):
    """All ways in which strides, dilated taps and padding meet, along rows and along columns."""
    for kernel, padding, size in product((1, 2, 3, 5), (0, 2), (3, 8)):
        extent = (kernel - 1) * dilation + 1
        if size + 2 * padding < extent:
            continue
        upright = Case("", (1, size, 2, 2), 3, (kernel, 1), (stride, 1), (padding, 0), (dilation, 1))
        lying = Case("", (2, 2, size, 1), 2, (1, kernel), (2, stride), (0, padding), (3, dilation))
        for case in (upright, lying):
            check(launcher(), "conv2d_backward_data", case, "v3", np.dtype(np.float32))


@pytest.mark.parametrize("version", weight.IN_PARTS)
def test_parts_of_every_number(version):
    """From one, which needs no workspace, to more than there are windows."""
    case = named("stages_go_round")
    windows = draw(case).g[..., 0].size
    for parts in (1, 2, 3, 7, windows - 1, windows, windows + 1):
        check(in_turn(parts), "conv2d_backward_weight", case, version, types(version)[0], parts=parts)


def test_parts_keep_the_multiprocessors_at_work():
    on = launcher()
    assert weight.parts_of(on, blocks=5, windows=10**6) == 53  # the least with 5 · 53 ≥ 2 · 132
    assert weight.parts_of(on, blocks=5, windows=1000) == 3  # of at least 256 windows each
    assert weight.parts_of(on, blocks=1000, windows=10**6) == 1


def test_long_parts_are_whole_steps():
    case, on, lengths = Case("", (2, 15, 20, 1), 2, 1), launcher(), {}
    launch = on.launch

    def seen(name, *arguments, **options):
        lengths[name] = arguments[-1]
        launch(name, *arguments, **options)

    on.launch = seen
    check(on, "conv2d_backward_weight", case, "v6", DTYPES[0], parts=2)
    assert lengths["conv2d_backward_weight_v6"] == 320  # of 600 windows


@pytest.mark.parametrize(
    ("dtype", "parts"), [(np.float32, 1), (np.float32, 3), (np.float16, 1), (np.float16, 2)]
)
def test_the_workspace_is_what_is_said(dtype, parts):
    case, on, taken = named("vectors_of_four_only"), launcher(), []
    empty, arrays = on.empty, draw(case, dtype)
    on.empty = lambda shape, of: taken.append(empty(shape, of)) or taken[-1]
    dw = weight.conv2d_backward_weight(on, arrays.x, arrays.g, window=case.window, parts=parts)
    bytes_ = sum(array.nbytes for array in taken if array is not dw)
    assert bytes_ == weight.workspace(dw.shape, parts, dw.dtype)


@pytest.mark.parametrize("dtype", DTYPES[2:], ids=str)
def test_weights_of_half_precision_may_be_wanted_in_float(dtype):
    for parts in (1, 4):
        check(
            launcher(), "conv2d_backward_weight", named("primes"), "v8", dtype, parts=parts, dtype=np.float32
        )


def check_bias(on, case, version, dtype, **options):
    g = draw(case, dtype).g
    db = weight.conv2d_backward_bias(on, g, version=version, **options)
    axes, exact = (0, 1, 2), g.astype(float)
    assert db.dtype == dtype
    hold(db, exact.sum(axis=axes), np.abs(exact).sum(axis=axes), g[..., 0].size)


@pytest.mark.parametrize("version", BIAS)
def test_bias(version):
    for number, case in enumerate(CASES):
        for dtype in DTYPES:
            check_bias(in_turn(number), case, version, dtype)
    for dtype in (DTYPES[0], *DTYPES[2:]):
        check_bias(wide(launcher()), named("primes"), version, dtype)


def test_bias_in_parts_of_every_number():
    for parts in (1, 2, 3, 8, 9, 69, 70, 71):
        check_bias(in_turn(parts), named("primes"), "v2", DTYPES[0], parts=parts)


@pytest.mark.parametrize("mode", MODES, ids=str)
@pytest.mark.parametrize("version", BIAS)
def test_bias_in_every_mode(version, mode):
    check_bias(
        in_mode(mode), named("primes"), version, DTYPES[0], **({} if version == "v1" else {"parts": 2})
    )


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_the_default_is_the_fastest_that_rounds_nothing(direction):
    case, launched = named("vectors"), []
    for capability, dtype in ((90, np.float32), (70, np.float32), (90, np.float64), (90, np.float16)):
        on = launcher()
        on.device.capability = capability
        on.launch = lambda name, *arguments, **options: launched.append(name)
        gradient(on, direction, case, draw(case, dtype), None)
    last = [LADDER[direction][version] for version in ("v6", "v5", "v4", "v8")]
    assert launched == [
        name for names in last for name in names if not name.endswith("_sum") or "v8" in names[0]
    ]


def test_the_default_for_groups_of_few_channels_has_no_tiles_to_leave_empty():
    for channels, expected in ((7, "v2"), (8, "v6")):
        launched = []
        on = launcher()
        on.launch = lambda name, *arguments, launched=launched, **options: launched.append(name)
        g, w = np.ones((1, 3, 3, 16), np.float32), np.ones((16, 3, 3, channels), np.float32)
        window = Window2d.of("test", 3, padding=1)
        conv2d_backward_data(on, g, w, (1, 3, 3, 2 * channels), window=window, groups=2)
        assert launched[-1] == f"conv2d_backward_data_{expected}"


def test_results_go_where_they_are_wanted():
    case = named("primes")
    arrays = draw(case)
    for direction, shape in zip(DIRECTIONS, (case.shape, case.weight_shape), strict=True):
        for version in ("v1", "v6"):
            out = poisoned(shape, np.float32)
            assert gradient(launcher(), direction, case, arrays, version, out=out) is out
            np.testing.assert_allclose(out, exactly(direction, case, arrays)[0], rtol=1e-4, atol=1e-4)
    out = poisoned((case.kernels,), np.float32)
    assert weight.conv2d_backward_bias(launcher(), arrays.g, out=out) is out


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize(
    ("version", "dtype", "message"),
    [
        ("v9", np.float32, "version must be one of v1, v2"),
        ("v5", np.float64, "v5: is not made for float64"),
        ("v7", np.float16, "v7: is not made for float16"),
        ("v8", np.float32, "v8: is not made for float32"),
        (None, np.int32, "no version can do this: .*v1: is not made for int32"),
    ],
)
def test_versions_that_cannot(direction, version, dtype, message):
    case = named("primes")
    with pytest.raises(ValueError, match=f"{direction}.*{message}"):
        gradient(launcher(), direction, case, draw(case, dtype), version)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_device_without_asynchronous_copies(direction):
    on, case = launcher(), named("primes")
    on.device.capability = 70
    with pytest.raises(ValueError, match=r"v6: needs compute capability 8.0, the device has 7.0"):
        gradient(on, direction, case, draw(case), "v6")


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_results_of_another_shape(direction):
    case = named("primes")
    with pytest.raises(ValueError, match=r"out must .*shape .*got .*\(1, 2, 3, 4\)"):
        gradient(launcher(), direction, case, draw(case), "v1", out=poisoned((1, 2, 3, 4), np.float32))


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("version", ["v1", "v6"])
def test_gradients_of_another_shape(direction, version):
    case = named("primes")
    arrays = draw(case)
    wrong = SimpleNamespace(x=arrays.x, w=arrays.w, g=np.ascontiguousarray(arrays.g[:, 1:]))
    with pytest.raises(ValueError, match=r"P is 6 in g \(2, 6, 5, 5\) and 7 in conv"):
        gradient(launcher(), direction, case, wrong, version)


def test_bad_arguments_of_the_weights():
    case, on = named("primes"), launcher()
    arrays = draw(case)
    with pytest.raises(TypeError, match=r"dw must be float32 or float32, got float64"):
        gradient(on, "conv2d_backward_weight", case, arrays, None, dtype=np.float64)
    with pytest.raises(ValueError, match=r"parts must be at least 1, got 0"):
        gradient(on, "conv2d_backward_weight", case, arrays, "v6", parts=0)
    with pytest.raises(
        ValueError, match=r"backward_weight: v2 does not cut its sums into parts, got parts 2"
    ):
        gradient(on, "conv2d_backward_weight", case, arrays, "v2", parts=2)
    with pytest.raises(ValueError, match=r"backward_bias: v1 does not cut its sums into parts, got parts 1"):
        weight.conv2d_backward_bias(on, arrays.g, version="v1", parts=1)
    with pytest.raises(TypeError, match=r"g must have x's dtype, got float64 and float32"):
        weight.conv2d_backward_weight(on, arrays.x, arrays.g.astype(np.float64), window=case.window)
    with pytest.raises(ValueError, match=r"x must be \[N, H, W, C\].*got \(7, 5, 3\)"):
        weight.conv2d_backward_weight(on, arrays.x[0], arrays.g, window=case.window)
    with pytest.raises(ValueError, match=r"g must be \[N, P, Q, K\], got shape \(7, 5, 5\)"):
        weight.conv2d_backward_bias(on, arrays.g[0])


def test_more_than_an_int_counts():
    """Shapes alone: nothing is computed."""
    on = launcher()
    on.launch = None
    g, w = (
        np.broadcast_to(np.float32(0), (1, 1, 2000, 4096)),
        np.broadcast_to(np.float32(0), (4096, 999, 1, 1)),
    )
    window = Case("", (), 1, (999, 1)).window
    with pytest.raises(ValueError, match=r"at most \d+ numbers of g under a kernel, got 8183816192"):
        conv2d_backward_data(
            on, g, w, (1, 999, 2000, 1), window=window, out=np.broadcast_to(g[..., :1], (1, 999, 2000, 1))
        )
    images = np.broadcast_to(np.float32(0), (50000, 300, 300, 1))
    window = Case("", (), 1, 1, 200).window
    g, w = np.broadcast_to(np.float32(0), (50000, 2, 2, 1)), np.zeros((1, 1, 1, 1), np.float32)
    with pytest.raises(ValueError, match=r"at most \d+ pixels, got 4500000000"):
        conv2d_backward_data(on, g, w, images.shape, window=window, out=images)


def test_the_sources_and_the_table_agree():
    for name in DIRECTIONS:
        file = source(name)
        launched = {kernel for versions in LADDER.values() for names in versions.values() for kernel in names}
        assert set(file.kernels) == {kernel for kernel in launched if kernel in file.kernels}
        assert list(file.versions) == list(file.kernels)
