"""Gradient descent's kernels, run by the emulator: every version against the CPU's optimiser."""

import numpy as np
import pytest
from emulated import MODES, launcher, needs_compiler
from ladder import close, in_mode, in_turn, launches, wide

from minicnn import Tensor
from minicnn.backend.ladder.sgd import CHUNK, LADDER, chunk_options, chunks_of, sgd, sgd_chunks
from minicnn.optim import SGD

pytestmark = needs_compiler

VERSION = pytest.mark.parametrize("version", LADDER["sgd"])

# One, fewer than a vector, whole and broken vectors, a warp ± 1, a block ± 1 of one element and of four a thread.
SIZES = [1, 3, 4, 5, 31, 32, 33, 127, 255, 256, 257, 1023, 1024, 1025, 1031]
OPTIONS = [
    {},
    {"weight_decay": 0.1},
    {"maximize": True},
    {"momentum": 0.9},
    {"momentum": 0.9, "dampening": 0.25, "weight_decay": 0.01, "maximize": True},
    {"momentum": 0.5, "nesterov": True, "weight_decay": 0.1},
]


def steps_on_the_cpu(p, gradients, **options):
    """The parameter after each step, and the velocity at the end, in float64."""
    parameter = Tensor(p.astype(np.float64), requires_grad=True)
    optimizer, found = SGD([parameter], **options), []
    for g in gradients:
        parameter.grad = g.astype(np.float64)
        optimizer.step()
        found.append(parameter.data.copy())
    return found, optimizer.state.get(parameter, {}).get("momentum_buffer")


def case(shape, dtype=np.float32, steps=3):
    rng = np.random.default_rng(np.prod(shape))
    p, *gradients = (rng.standard_normal(shape).astype(dtype) for _ in range(1 + steps))
    return p, gradients


def hold_to_the_cpu(on, shape, version, dtype=np.float32, steps=3, **options):
    options = {"lr": 0.2, **options}
    p, gradients = case(shape, dtype, steps)
    v = np.zeros_like(p) if options.get("momentum") else None
    expected, velocity = steps_on_the_cpu(p, gradients, **options)
    for step, g in enumerate(gradients):
        before = g.copy()
        sgd(on, p, g, v, **options, first=step == 0, version=version)
        close(p, expected[step])
        np.testing.assert_array_equal(g, before)
    if v is not None:
        close(v, velocity)


@VERSION
@pytest.mark.parametrize("size", SIZES)
def test_three_steps(version, size):
    for options in (OPTIONS[1], OPTIONS[5]):
        hold_to_the_cpu(in_turn(size), (size,), version, **options)


@VERSION
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_every_option(version, options):
    hold_to_the_cpu(launcher(), (3, 2, 5, 7), version, **options)


@VERSION
@pytest.mark.parametrize("mode", MODES, ids=str)
def test_every_mode(version, mode):
    hold_to_the_cpu(in_mode(mode), (261,), version, steps=2, **OPTIONS[5])


@pytest.mark.parametrize("version", ["v1", "v2", None])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_float64(version, options):
    hold_to_the_cpu(launcher(), (261,), version, np.float64, **options)


@VERSION
def test_64_bit_indices(version):
    hold_to_the_cpu(wide(launcher()), (261,), version, **OPTIONS[5])


@VERSION
def test_without_decay_an_infinite_parameter_does_not_become_nan(version):
    p, g = np.float32([np.inf, 1, 2, 3, -np.inf]), np.float32([1, 2, 3, 4, 5])
    for sign in (False, True):
        sgd(launcher(), p, g, lr=0.5, maximize=sign, version=version)
    np.testing.assert_array_equal(p, [np.inf, 1, 2, 3, -np.inf])


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_all_parameters_at_once(mode):
    """Each with the options of its group, and what fills up its last chunk stays 0."""
    on, sizes, of = in_mode(mode), [1500, 1, 1024, 7], [0, 1, 0, 2]
    groups = [
        {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1},
        {"lr": 0.2, "momentum": 0.0},
        {"lr": 0.3, "momentum": 0.5, "maximize": True, "dampening": 0.5},
    ]
    places = chunks_of(sizes)
    count = places[-1].stop // CHUNK + 1
    group = np.zeros(count, np.int32)
    for place, number in zip(places, of, strict=True):
        group[place.start // CHUNK : (place.stop - 1) // CHUNK + 1] = number
    p, g, v = np.zeros((3, count * CHUNK), np.float32)
    for place in places:
        p[place], (g[place],) = case((place.stop - place.start,), steps=1)
    whole = [a.reshape(count, CHUNK) for a in (p, g, v)]
    expected = [steps_on_the_cpu(p[a], [g[a]] * 2, **groups[i])[0] for a, i in zip(places, of, strict=True)]
    for step in range(2):
        options = np.float32([chunk_options(**options, first=step == 0) for options in groups])
        sgd_chunks(on, *whole, group, options)
        for place, found in zip(places, expected, strict=True):
            close(p[place], found[step])
    outside = np.ones(p.shape, bool)
    for place in places:
        outside[place] = False
    assert outside.any()
    assert not p[outside].any()
    assert not v[outside].any()


def test_all_parameters_with_nesterov_and_64_bit_indices():
    (p, g), v = case((2, CHUNK), steps=1), np.zeros((2, CHUNK), np.float32)
    options = {"lr": 0.5, "momentum": 0.5}
    (expected,), _ = steps_on_the_cpu(p, g, nesterov=True, **options)
    table = np.float32([chunk_options(**options)])
    sgd_chunks(wide(launcher()), p, g[0], v, np.zeros(2, np.int32), table, nesterov=True)
    close(p, expected)


def test_what_moves_as_the_header_counts_it():
    p, g, v = np.ones((3, 1024), np.float32)

    def moved(version, **options):
        found = launches(lambda on: sgd(on, p, g, v, lr=0.1, momentum=0.9, version=version, **options))
        return sum(launch.bytes(0, 1, 2) for launch in found), sum(
            len(launch.of(0, 1, 2)) for launch in found
        )

    decay = {"weight_decay": 0.1}
    assert moved("v1", **decay)[0] == 9 * p.nbytes
    assert moved("v1", **decay, nesterov=True)[0] == 12 * p.nbytes
    assert moved("v2", **decay) == (5 * p.nbytes, 5 * 1024 / 32)
    assert moved("v3", **decay) == (5 * p.nbytes, 5 * 1024 / 128)


P, WIDE = np.ones((2, 6), np.float32), np.ones((2, CHUNK), np.float32)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda on: sgd(on, P, P, lr=1, nesterov=True), ValueError, "nesterov needs momentum above 0"),
        (
            lambda on: sgd(on, P, P, P, lr=1, nesterov=True, momentum=0.5, dampening=0.5),
            ValueError,
            "dampening 0, got momentum=0.5, dampening=0.5",
        ),
        (lambda on: sgd(on, P, P, lr=1, momentum=0.5), ValueError, "got none, momentum=0.5"),
        (lambda on: sgd(on, P, P, P, lr=1), ValueError, "got one, momentum=0.0"),
        (lambda on: sgd(on, P, P[:1], lr=1), ValueError, r"one shape, got \(2, 6\), \(1, 6\)"),
        (lambda on: sgd(on, P.T, P.T, lr=1), ValueError, "p must be C-contiguous"),
        (lambda on: sgd(on, P, P.astype(float), lr=1), TypeError, "g must be float32"),
        (lambda on: sgd(on, P, P, lr="fast"), TypeError, "rate must be a number"),
        (
            lambda on: sgd(on, *P.astype(float), lr=1, version="v3"),
            ValueError,
            "v3: takes float32, got float64",
        ),
        (lambda on: sgd(on, P, P, lr=1, version="v4"), ValueError, "must be one of v1, v2, v3, got 'v4'"),
        (
            lambda on: sgd_chunks(on, P, P, P, np.zeros(2, np.int32), P[:, :5]),
            ValueError,
            r"p must have rows of 1024, got shape \(2, 6\)",
        ),
        (
            lambda on: sgd_chunks(on, WIDE, WIDE, WIDE, np.zeros(2, np.int32), P),
            ValueError,
            r"options must have rows of 5, got shape \(2, 6\)",
        ),
        (
            lambda on: sgd_chunks(on, WIDE, WIDE, WIDE, np.zeros(3, np.int32), np.ones((1, 5), np.float32)),
            ValueError,
            "chunks is 2 .* and 3 in group",
        ),
    ],
)
def test_what_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call(launcher())
