"""Winograd's convolution in CUDA, emulated: transforms, products and tiles that hang over, held to the definition.

F(2×2, 3×3) computes with whole numbers, halved twice in the kernels: of kernels of multiples of 4 the result must be
*exact*, in float32 too, so that no tolerance hides anything.
"""

from functools import partial
from unittest.mock import patch

import numpy as np
import pytest
from emulated import MODES, launcher, needs_compiler, poisoned

from minicnn.backend.ladder import winograd
from minicnn.backend.ladder.window import conv2d
from minicnn.backend.ladder.winograd import VERSIONS, winograd_backward_data, winograd_forward
from minicnn.conv.algorithms import ALGORITHMS
from minicnn.geometry import Window2d

pytestmark = needs_compiler

SAME = (1, 1, 1, 1)
EXACT = [version for version in VERSIONS if version.startswith("winograd2")]
CASES = [  # input (N, H, W, C), K, padding
    ((1, 1, 1, 1), 1, SAME),
    ((2, 1, 1, 3), 2, (2, 2, 2, 2)),  # a 1×1 image, more padding than pixels
    ((1, 3, 3, 1), 1, (0, 0, 0, 0)),  # one window
    ((1, 2, 3, 5), 3, (4, 0, 1, 5)),  # tiles that see no pixel at all
    ((3, 5, 7, 7), 5, (1, 2, 0, 1)),
    ((1, 7, 5, 9), 31, (0, 1, 2, 0)),
    ((2, 1, 13, 17), 33, SAME),  # not a tile high
    ((1, 6, 4, 33), 32, SAME),  # 4×4 hangs over downwards only
    ((1, 4, 8, 4), 4, SAME),  # whole tiles of both sizes, four channels a thread
    ((1, 2, 60, 8), 15, SAME),  # 30 tiles of 2×2, 15 of 4×4
    ((1, 1, 62, 15), 16, SAME),  # 31 of 2×2
    ((1, 2, 64, 16), 17, SAME),  # 32
    ((1, 2, 66, 3), 65, SAME),  # 33
]


def numbers(shape, k, padding, dtype=np.float32, seed=0):
    """Whole numbers x, w, b, g for a case, the weights multiples of 4; the image's border is large, so is what is last.

    A pixel read from beyond the border, a channel too many or one too few so is a large error.
    """
    rng = np.random.default_rng(seed)
    n, h, width, c = shape
    top, bottom, left, right = padding
    sizes = shape, (k, 3, 3, c), (k,), (n, h + top + bottom - 2, width + left + right - 2, k)
    x, w, b, g = (rng.integers(-3, 4, size) for size in sizes)
    for images in (x, g):
        inner = images[:, 1:-1, 1:-1, :-1].copy()
        images *= 64
        images[:, 1:-1, 1:-1, :-1] = inner
    return [a.astype(dtype) for a in (x, 4 * w, b, g)]


def window(padding):
    return Window2d.of("test", 3, padding=padding)


def direct(x, w, b, padding, relu=False):
    """Compute y = x ∗ w + b by its definition, in float64."""
    top, bottom, left, right = padding
    room = np.pad(x.astype(np.float64), ((0, 0), (top, bottom), (left, right), (0, 0)))
    p, q = room.shape[1] - 2, room.shape[2] - 2
    y = sum(room[:, r : r + p, s : s + q] @ w[:, r, s].T.astype(np.float64) for r, s in np.ndindex(3, 3))
    y = y if b is None else y + b
    return np.maximum(y, 0) if relu else y


def direct_backward_data(g, w, shape, padding):
    """Return what each output owes to each pixel that it saw."""
    (n, h, width, c), (top, bottom, left, right) = shape, padding
    p, q = g.shape[1:3]
    room = np.zeros((n, h + top + bottom, width + left + right, c))
    for r, s in np.ndindex(3, 3):
        room[:, r : r + p, s : s + q] += g.astype(np.float64) @ w[:, r, s].astype(np.float64)
    return room[:, top : top + h, left : left + width]


def hold(found, expected, version, scale):
    """Hold a result to the definition: exactly, or to a few roundings of the sum of the terms' sizes."""
    assert found.dtype == scale.dtype
    if version in EXACT:
        np.testing.assert_array_equal(found, expected)
    else:
        # An output's rounding errors are those of all its tile's, so the largest sum of an image is the measure.
        tolerance = 20 * np.finfo(found.dtype).eps * float(np.max(scale))
        worst = np.max(np.abs(found - expected))
        assert worst <= tolerance, (worst, tolerance)


def check(on, version, case, dtype=np.float32, relu=False, bias=True):
    """Hold forward and backward data to the definition for one case."""
    shape, k, padding = case
    x, w, b, g = numbers(shape, k, padding, dtype)
    b = b if bias else None
    y = winograd_forward(on, x, w, b, window=window(padding), relu=relu, version=version)
    hold(y, direct(x, w, b, padding, relu), version, direct(abs(x), abs(w), None, padding).astype(dtype))
    dx = winograd_backward_data(on, g, w, shape, window=window(padding), version=version)
    scale = direct_backward_data(abs(g), abs(w), shape, padding).astype(dtype)
    hold(dx, direct_backward_data(g, w, shape, padding), version, scale)


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("version", VERSIONS)
def test_sizes_of_every_kind(version, case):
    number = CASES.index(case)
    order = ("forward", "reverse", "random")[number % 3]
    check(launcher(order=order, seed=number), version, case, relu=number % 2 == 0, bias=number % 4 > 0)


@pytest.mark.parametrize("mode", MODES, ids=str)
@pytest.mark.parametrize("version", VERSIONS)
def test_every_schedule(version, mode):
    """Two blocks of tiles, three rounds of channels."""
    shape, k, padding = (1, 3, 34, 17), 5, SAME
    x, w, b, _ = numbers(shape, k, padding)
    on = launcher(mode.check, mode.order, mode.copies, mode.seed)
    y = winograd_forward(on, x, w, b, window=window(padding), version=version)
    hold(y, direct(x, w, b, padding), version, direct(abs(x), abs(w), None, padding).astype(y.dtype))


@pytest.mark.parametrize("version", ["winograd2_v1", "winograd4_v1"])
@pytest.mark.parametrize("case", CASES[:5], ids=str)
def test_in_double_precision(version, case):
    shape, k, padding = case
    x, w, b, _ = numbers(shape, k, padding, np.float64)
    y = winograd_forward(launcher(), x, w, b, window=window(padding), version=version)
    scale = np.max(direct(abs(x), abs(w), abs(b), padding))
    assert np.max(np.abs(y - direct(x, w, b, padding))) <= 1e-14 * scale
    check(launcher(), version, case, np.float64)


@pytest.mark.parametrize("version", VERSIONS)
def test_indices_of_64_bits(version):
    on = launcher()
    on.launch = partial(on.launch, Index="long long")
    check(on, version, ((2, 5, 3, 9), 5, (1, 2, 0, 1)))
    check(on, version, ((1, 4, 4, 4), 4, SAME))


@pytest.mark.parametrize("version", ["winograd4_v1", "winograd4_v2"])
def test_the_error_of_4x4_is_a_few_roundings(version):
    """Root mean square, against the result's own, as the CPU's test asks of the same matrices."""
    rng = np.random.default_rng(0)
    x, w = (rng.normal(size=size).astype(np.float32) for size in ((1, 12, 12, 64), (8, 3, 3, 64)))
    expected = direct(x, w, None, SAME)
    error = winograd_forward(launcher(), x, w, window=window(SAME), version=version) - expected
    assert np.sqrt(np.mean(error**2) / np.mean(expected**2)) <= 10 * np.finfo(np.float32).eps


# The matrices


def squares(m):
    """Return the Kronecker squares of Aᵀ, G and Bᵀ that the CPU's algorithm computes with."""
    algorithm = ALGORITHMS[f"winograd_{m}x{m}"]
    return algorithm._output, algorithm._filter, algorithm._data


@pytest.mark.parametrize("m", [2, 4])
@pytest.mark.parametrize("turned", [False, True])
def test_kernels_are_transformed_as_on_the_cpu(m, turned):
    k, c, t2 = 5, 3, (m + 2) ** 2
    rows, columns = (k, c) if turned else (c, k)
    w = np.random.default_rng(0).normal(size=(k, 3, 3, c))
    U = poisoned((t2, rows + 2, columns + 3), w.dtype)
    sizes = k, c, rows + 2, columns + 3
    launcher().launch(f"winograd{m}_v1_kernels", (1,), (256,), w, U, *sizes, kRotate=turned)
    taps = (w[:, ::-1, ::-1] if turned else w).reshape(k, 9, c)
    expected = np.einsum("ir,krc->ikc" if turned else "ir,krc->ick", squares(m)[1], taps)
    np.testing.assert_allclose(U[:, :rows, :columns], expected, rtol=1e-14, atol=1e-15)
    assert not U[:, rows:].any()
    assert not U[:, :, columns:].any()


@pytest.mark.parametrize(("k", "c", "depth", "width"), [(33, 31, 32, 64), (5, 40, 40, 5), (64, 64, 64, 64)])
@pytest.mark.parametrize("name", ["winograd2_v3_kernels", "winograd4_v2_kernels"])
def test_kernels_transformed_by_squares(name, k, c, depth, width):
    m = int(name[len("winograd")])
    w = np.random.default_rng(0).normal(size=(k, 3, 3, c)).astype(np.float32)
    U, plain = (poisoned(((m + 2) ** 2, depth, width), w.dtype) for _ in range(2))
    on, sizes = launcher(), (k, c, depth, width)
    on.launch(name, (-(-width // 32), -(-depth // 32)), (32, 8), w, U, *sizes)
    on.launch(f"winograd{m}_v1_kernels", (-(-depth * width // 256),), (256,), w, plain, *sizes, kRotate=False)
    np.testing.assert_allclose(U, plain, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(U == 0, plain == 0)


@pytest.mark.parametrize("m", [2, 4])
def test_tiles_are_transformed_as_on_the_cpu(m):
    """One tile at the corner: its data, and back from products that are anything."""
    t2 = (m + 2) ** 2
    output, _, data = squares(m)
    rng = np.random.default_rng(0)
    x, M, b = rng.normal(size=(1, m + 1, m + 1, 3)), rng.normal(size=(t2, 1, 3)), rng.normal(size=3)
    y, V = poisoned((1, m, m, 3), x.dtype), poisoned((t2, 1, 3), x.dtype)
    fields = conv2d(window((1, 0, 1, 0)), x.shape, kernels=3)
    on = launcher()
    on.launch(f"winograd{m}_v1_input", (1,), (256,), x, V, fields, 0, 1)
    on.launch(f"winograd{m}_v1_output", (1,), (256,), M, b, y, fields, 0, 1, False)
    pixels = np.pad(x[0], ((1, 0), (1, 0), (0, 0))).reshape(t2, 3)
    np.testing.assert_allclose(V[:, 0], data @ pixels, rtol=1e-14, atol=1e-14)
    np.testing.assert_allclose(y.reshape(-1, 3), output @ M[:, 0] + b, rtol=1e-14, atol=1e-14)


# Numbers that are none


@pytest.mark.parametrize("version", VERSIONS)
def test_nan_stays_in_its_tiles(version):
    """The channels, kernels and tiles that fill up a block are zeros, and not some neighbour's numbers times zero."""
    padding = (0, 0, 0, 0)
    x, w, b, _ = numbers((2, 10, 10, 3), 5, padding)
    x[0, 0, 0] = np.nan
    y = winograd_forward(launcher(), x, w, b, window=window(padding), relu=True, version=version)
    m, seen = int(version[len("winograd")]), np.zeros(y.shape, bool)
    seen[0, :m, :m] = True
    assert np.isnan(y[0, 0, 0]).all()  # and ReLU does not hide it
    assert np.isfinite(y[~seen]).all()


# What moves


def traffic(version, shape, k):
    """Return what each kernel of a version moves, by its name."""
    x, w, *_ = numbers(shape, k, SAME)
    on, started = launcher(check="traffic"), {}
    function = on.device.function

    def kept(kernel, expression):
        started[kernel.name] = function(kernel, expression)
        return started[kernel.name]

    with patch.object(on.device, "function", kept):
        winograd_forward(on, x, w, window=window(SAME), version=version)
    return {name: kernel.traffic for name, kernel in started.items()}


@pytest.mark.parametrize(
    ("version", "words"), [("winograd2_v2", 2), ("winograd2_v3", 3 / 8), ("winograd2_v4", 1 / 4)]
)
def test_the_words_of_shared_memory_a_multiplication_takes(version, words):
    """As the headers count them; from v3 on each product is passed to another thread besides."""
    tiles, k, c = 32, 64, 16
    moved = traffic(version, (1, 8, 16, c), k)[version]
    passed = 0 if version == "winograd2_v2" else 16 * tiles * k
    assert moved.shared_read == 4 * (words * 16 * tiles * k * c + passed)
    assert moved.bank_conflicts == 0
    assert moved.global_written == 4 * 8 * 16 * k


def test_kernels_are_read_by_whole_lines():
    k, c = 32, 64
    plain, squares = (
        moved[name]
        for moved, name in (
            (traffic("winograd2_v2", (1, 2, 2, c), k), "winograd2_v1_kernels"),
            (traffic("winograd2_v3", (1, 2, 2, c), k), "winograd2_v3_kernels"),
        )
    )
    assert plain.sectors_read == 8 * squares.sectors_read == 9 * c * k
    assert squares.used == 1
    assert squares.bank_conflicts == 0


@pytest.mark.parametrize("name", ["input", "output"])
def test_four_channels_a_thread_are_a_quarter_of_the_requests(name):
    plain, vectors = (
        traffic(version, (1, 8, 8, 128), 128)[f"{version}_{name}"]
        for version in ("winograd4_v1", "winograd4_v2")
    )
    assert plain.global_requests == 4 * vectors.global_requests
    assert plain.sectors_read == vectors.sectors_read
    assert plain.sectors_written == vectors.sectors_written


# Batches and memory


@pytest.mark.parametrize("version", ["winograd2_v1", "winograd4_v1", "winograd4_v2"])
@pytest.mark.parametrize("most", [1, 3, 7, 1000])
def test_batches_of_tiles_give_the_same(version, most):
    shape, k, padding = (2, 9, 7, 3), 5, SAME
    x, w, b, _ = numbers(shape, k, padding)
    m = int(version[len("winograd")])
    tile, tiles = (m + 2) ** 2 * (3 + 5) * 4, 2 * -(-9 // m) * -(-7 // m)
    on = launcher()
    with patch.object(on, "matmul", wraps=on.matmul) as matmul:
        workspace = most * tile + tile - 1
        y = winograd_forward(on, x, w, b, window=window(padding), version=version, workspace=workspace)
    assert [call.args[0].shape[1] for call in matmul.call_args_list] == [
        min(most, tiles - at) for at in range(0, tiles, most)
    ]
    whole = winograd_forward(on, x, w, b, window=window(padding), version=version)
    np.testing.assert_allclose(y, whole, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("workspace", [1, 10_000, winograd.WORKSPACE])
def test_the_workspace_is_what_is_allocated(version, workspace):
    shape, k, padding = (2, 5, 7, 9), 17, SAME
    x, w, b, _ = numbers(shape, k, padding)
    on = launcher()
    with patch.object(on, "empty", wraps=on.empty) as empty:
        out = poisoned((2, 5, 7, 17), x.dtype)
        options = {"window": window(padding), "version": version, "workspace": workspace}
        assert winograd_forward(on, x, w, b, out=out, **options) is out
    hold(out, direct(x, w, b, padding), version, direct(abs(x), abs(w), None, padding).astype(x.dtype))
    taken = sum(4 * int(np.prod(call.args[0])) for call in empty.call_args_list)
    assert taken == winograd.workspace_bytes(shape, k, **options)


@pytest.mark.parametrize("version", VERSIONS)
def test_no_images(version):
    x, w, b, _ = numbers((0, 4, 4, 3), 5, SAME)
    y = winograd_forward(launcher(), x, w, b, window=window(SAME), version=version)
    assert y.shape == (0, 4, 4, 5)


# Which version, and what none can do


def launched(on, x, w, **options):
    with patch.object(on, "launch", wraps=on.launch) as launch:
        winograd_forward(on, x, w, window=window(SAME), **options)
    return [call.args[0] for call in launch.call_args_list]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_version_launches_the_kernels_its_table_names(version):
    operation, name = version.split("_")
    x, w, *_ = numbers((1, 4, 4, 4), 4, SAME)
    assert launched(launcher(), x, w, version=version) == list(winograd.LADDER[operation][name])


@pytest.mark.parametrize(
    ("k", "dtype", "device", "expected"),
    [
        (33, np.float32, {"capability": 80}, "winograd2_v4"),
        (32, np.float32, {"capability": 80}, "winograd2_v3"),
        (33, np.float32, {"capability": 75}, "winograd2_v3"),
        (33, np.float32, {"shared_memory": 98559}, "winograd2_v3"),
        (33, np.float32, {"shared_memory": 98560}, "winograd2_v4"),
        (33, np.float64, {"capability": 80}, "winograd2_v1_output"),
    ],
)
def test_the_default_is_the_fastest_for_the_case(k, dtype, device, expected):
    x, w, *_ = numbers((1, 2, 2, 3), k, SAME, dtype)
    on = launcher()
    with patch.multiple(on.device, **device):
        assert launched(on, x, w)[-1] == expected


def test_a_version_that_cannot_do_the_case_says_why():
    x, w, *_ = numbers((1, 2, 2, 3), 5, SAME)
    on = launcher()
    for version in (*EXACT[1:], "winograd4_v2"):
        with pytest.raises(ValueError, match=f"winograd_forward {version}: is made for float32, got float64"):
            launched(on, x.astype(float), w.astype(float), version=version)
    with (
        patch.multiple(on.device, capability=75),
        pytest.raises(ValueError, match=r"v4: needs compute capability 8\.0, the device has 7\.5"),
    ):
        launched(on, x, w, version="winograd2_v4")
    with (
        patch.multiple(on.device, shared_memory=65536),
        pytest.raises(ValueError, match="takes 98560 bytes of shared memory, the device has 65536"),
    ):
        launched(on, x, w, version="winograd2_v4")
    with pytest.raises(ValueError, match=r"version must be one of winograd2_v1, .*, got 'v3'"):
        launched(on, x, w, version="v3")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kernel_size": 5, "padding": 2}, r"the kernel must be \(3, 3\), got \(5, 5\)"),
        ({"stride": 2}, r"the stride must be \(1, 1\), got \(2, 2\)"),
        ({"dilation": (1, 2)}, r"the dilation must be \(1, 1\), got \(1, 2\)"),
    ],
)
def test_windows_it_cannot_do(change, message):
    x, w, _, g = numbers((1, 6, 6, 3), 5, SAME)
    asked = Window2d.of("test", **{"kernel_size": 3, "padding": 1, **change})
    with pytest.raises(ValueError, match=f"winograd_forward: {message}"):
        winograd_forward(launcher(), x, w, window=asked)
    with pytest.raises(ValueError, match=f"winograd_backward_data: {message}"):
        winograd_backward_data(launcher(), g, w, x.shape, window=asked)


def test_arrays_that_do_not_fit():
    x, w, b, _ = numbers((1, 6, 6, 4), 5, SAME)
    on, options = launcher(), {"window": window(SAME)}
    with pytest.raises(ValueError, match=r"the window's kernel must be the weight's, got \(3, 3\)"):
        winograd_forward(on, x, w[:, :, :2].copy(), **options)
    with pytest.raises(ValueError, match=r"weight \(5, 3, 3, 2\), groups 1"):
        winograd_forward(on, x, w[..., :2].copy(), **options)
    with pytest.raises(ValueError, match=r"\[N, H, W, C\] .* got input \(6, 6, 4\)"):
        winograd_forward(on, x[0], w, **options)
    with pytest.raises(
        ValueError, match=r"out must be float32 of shape \(1, 6, 6, 5\), got float32 of shape"
    ):
        winograd_forward(on, x, w, out=np.empty_like(x), **options)
    with pytest.raises(TypeError, match="one dtype, got float32 and float64"):
        winograd_forward(on, x, w.astype(float), **options)
    with pytest.raises(ValueError, match=r"g must have shape \(1, 6, 6, 5\), got \(1, 6, 6, 4\)"):
        winograd_backward_data(on, x, w, x.shape, **options)
    with pytest.raises(ValueError, match="K is 4 in b"):
        winograd_forward(on, x, w, b[:4].copy(), **options)
    with pytest.raises(ValueError, match="C-contiguous"):
        winograd_forward(on, x.swapaxes(1, 2), w, **options)
