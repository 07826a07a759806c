"""Optimisers: against the papers' rules, PyTorch's numbers, and what they promise about memory."""

from __future__ import annotations

import copy
import inspect
import json
import math
import tracemalloc
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minicnn import get_num_threads, no_grad, optim, set_num_threads, tensor
from minicnn.backend import cpu
from minicnn.optim import SGD, Adagrad, Adam, AdamW, Optimizer, RMSprop
from minicnn.optim.sweep import sweep
from minicnn.tensor import Tensor

# Each optimiser with its options at work, and one with hardly any.
BUSY: list[tuple[type[Optimizer], dict[str, Any]]] = [
    (SGD, {"lr": 0.1, "momentum": 0.9, "dampening": 0.5, "weight_decay": 0.25, "maximize": True}),
    (SGD, {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.25, "nesterov": True, "maximize": True}),
    (Adam, {"lr": 0.1, "betas": (0.5, 0.75), "weight_decay": 0.25, "amsgrad": True, "maximize": True}),
    (AdamW, {"lr": 0.1, "betas": (0.5, 0.75), "weight_decay": 0.25, "amsgrad": True, "maximize": True}),
    (
        RMSprop,
        {"lr": 0.1, "alpha": 0.5, "weight_decay": 0.25, "momentum": 0.9, "centered": True, "maximize": True},
    ),
    (RMSprop, {"lr": 0.1, "maximize": True}),
    (
        Adagrad,
        {
            "lr": 0.1,
            "lr_decay": 0.5,
            "weight_decay": 0.25,
            "initial_accumulator_value": 0.5,
            "maximize": True,
        },
    ),
]
busy = pytest.mark.parametrize(("kind", "options"), BUSY, ids=lambda value: getattr(value, "__name__", "all"))


def parameter(values: Any, grad: Any = None) -> Tensor:
    p = Tensor(np.array(values, dtype=getattr(values, "dtype", np.float64)), requires_grad=True)
    p.grad = None if grad is None else np.array(grad, dtype=p.dtype)
    return p


def descend(optimizer: Optimizer, p: Tensor, grads: Any) -> None:
    for g in grads:
        p.grad = np.array(g, dtype=p.dtype)
        optimizer.step()


# The rules, as the papers write them: for one number, in float64, every mean and sum over the whole history.


def follow(start: float, grads: list[float], change: Any, o: dict[str, Any]) -> float:
    """Let ``change(history, step, p)`` say how p moves; `history` holds the gradients, signed and decayed."""
    p, history = start, []
    for t, g in enumerate(grads, start=1):
        history.append((-g if o["maximize"] else g) + (0 if o.get("decoupled") else o["weight_decay"] * p))
        p += change(history, t, p)
    return p


def mean(history: list[float], beta: float) -> float:
    """Return the running mean from 0, Σ (1 − β) βᵗ⁻ⁱ gᵢ."""
    return sum((1 - beta) * beta ** (len(history) - 1 - i) * g for i, g in enumerate(history))


def oracle_sgd(start: float, grads: list[float], o: dict[str, Any]) -> float:
    mu = o["momentum"]

    def velocity(history: list[float]) -> float:
        if mu == 0:  # no velocity at all, so nothing to dampen
            return history[-1]
        t = len(history) - 1
        return sum(mu ** (t - i) * (1 if i == 0 else 1 - o["dampening"]) * g for i, g in enumerate(history))

    def change(history: list[float], t: int, p: float) -> float:
        if o["nesterov"]:
            return -o["lr"] * (history[-1] + mu * velocity(history))
        return -o["lr"] * velocity(history)

    return follow(start, grads, change, o)


def oracle_adam(start: float, grads: list[float], o: dict[str, Any]) -> float:
    beta1, beta2 = o["betas"]

    def change(history: list[float], t: int, p: float) -> float:
        squares = [g * g for g in history]
        v = mean(squares, beta2)
        if o["amsgrad"]:
            v = max(mean(squares[:i], beta2) for i in range(1, t + 1))
        m_hat, v_hat = mean(history, beta1) / (1 - beta1**t), v / (1 - beta2**t)
        step = -o["lr"] * m_hat / (math.sqrt(v_hat) + o["eps"])
        return step - (o["lr"] * o["weight_decay"] * p if o.get("decoupled") else 0)

    return follow(start, grads, change, o)


def oracle_adamw(start: float, grads: list[float], o: dict[str, Any]) -> float:
    return oracle_adam(start, grads, {**o, "decoupled": True})


def oracle_rmsprop(start: float, grads: list[float], o: dict[str, Any]) -> float:
    def divided(history: list[float]) -> float:
        v = mean([g * g for g in history], o["alpha"])
        m = mean(history, o["alpha"]) if o["centered"] else 0
        return history[-1] / (math.sqrt(v - m * m) + o["eps"])

    def change(history: list[float], t: int, p: float) -> float:
        return -o["lr"] * sum(o["momentum"] ** (t - i) * divided(history[:i]) for i in range(1, t + 1))

    return follow(start, grads, change, o)


def oracle_adagrad(start: float, grads: list[float], o: dict[str, Any]) -> float:
    def change(history: list[float], t: int, p: float) -> float:
        length = math.sqrt(o["initial_accumulator_value"] + sum(g * g for g in history))
        return -o["lr"] / (1 + (t - 1) * o["lr_decay"]) * history[-1] / (length + o["eps"])

    return follow(start, grads, change, o)


def options(**choices: Any) -> st.SearchStrategy[dict[str, Any]]:
    common = {"lr": (0.0, 0.01, 0.5), "weight_decay": (0.0, 0.1), "maximize": (False, True)}
    return st.fixed_dictionaries({k: st.sampled_from(v) for k, v in {**common, **choices}.items()})


betas, eps = ((0.9, 0.999), (0.5, 0.75), (0.0, 0.5), (0.9, 0.0)), (1e-8, 0.01)
RULES = [
    (
        SGD,
        oracle_sgd,
        options(momentum=(0.0, 0.5, 0.9), dampening=(0.0, 0.25), nesterov=(False, True)).filter(
            lambda o: not o["nesterov"] or (o["momentum"] > 0 and o["dampening"] == 0)
        ),
    ),
    (Adam, oracle_adam, options(betas=betas, eps=eps, amsgrad=(False, True))),
    (AdamW, oracle_adamw, options(betas=betas, eps=eps, amsgrad=(False, True))),
    (
        RMSprop,
        oracle_rmsprop,
        options(alpha=(0.5, 0.99), eps=eps, momentum=(0.0, 0.5), centered=(False, True)),
    ),
    (Adagrad, oracle_adagrad, options(lr_decay=(0.0, 0.5), initial_accumulator_value=(0.0, 0.5), eps=eps)),
]
# Eighths that are not 0: a rule that divides by √g² is 0/0 there, and the ratio of two roundings near there.
eighths = st.integers(-40, 40).filter(bool).map(lambda i: i / 8)


@pytest.mark.parametrize(("kind", "oracle", "choices"), RULES, ids=[rule[0].__name__ for rule in RULES])
@settings(deadline=None, max_examples=80)
@given(data=st.data())
def test_each_rule_is_its_papers(kind, oracle, choices, data):
    o = data.draw(choices)
    start = data.draw(st.lists(eighths, min_size=1, max_size=3))
    grads = data.draw(st.lists(st.lists(eighths, min_size=len(start), max_size=len(start)), max_size=6))
    p = parameter(start)
    descend(kind([p], **o), p, grads)
    expected = [oracle(x, [g[i] for g in grads], o) for i, x in enumerate(start)]
    np.testing.assert_allclose(p.data, expected, rtol=1e-9, atol=1e-9)


def test_nesterov_is_sutskevers_seen_from_the_point_ahead():
    """Their equations 3 and 4, gradient taken at θ + μ v, on a bowl; our parameter is that point."""
    lr, mu = 0.1, 0.9
    theta, v = np.array([1.0, -2.0]), np.zeros(2)
    p = parameter([1.0, -2.0])
    optimizer = SGD([p], lr=lr, momentum=mu, nesterov=True)
    for _ in range(8):
        v = mu * v - lr * 3 * (theta + mu * v)
        theta = theta + v
        descend(optimizer, p, [3 * p.data])
        np.testing.assert_allclose(p.data, theta + mu * v, rtol=1e-12)


# What PyTorch 2.13.0 computes, on the CPU in float64.  The parameters start at [1, -2, 0.5]; the gradient of
# step t is (((7 t + 3 i) mod 11) - 5) / 4 for i = 0, 1, 2.  After three of the six steps the rate is halved,
# and the options in the second dict are assigned to the group.  Listed are the parameters after steps 1, 3, 6.
# fmt: off
GOLDEN = [
    ("SGD", {"lr": 0.1}, {}, [
        [1.125, -1.95, 0.475],
        [1.125, -2.1, 0.45],
        [1.0875, -2.1125, 0.4625],
    ]),
    ("SGD", {"lr": 0.1, "momentum": 0.9}, {}, [
        [1.125, -1.95, 0.475],
        [1.29375, -2.127, 0.47475],
        [1.267696875, -2.2386665, 0.467921375],
    ]),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.5, "weight_decay": 0.25}, {}, [
        [1.1, -1.9, 0.4625],
        [1.207984375, -1.792015625, 0.402884765625],
        [1.157405373264, -1.657912253689, 0.3478185587325],
    ]),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.25, "maximize": True}, {}, [
        [0.715, -2, 0.52375],
        [0.44511821875, -1.39904375, 0.4768448359375],
        [0.4009079260933, -1.013300441192, 0.3910086602862],
    ]),
    ("SGD", {"lr": 0.1, "dampening": 0.5}, {"momentum": 0.9}, [
        [1.125, -1.95, 0.475],
        [1.125, -2.1, 0.45],
        [0.9625, -2.045875, 0.47875],
    ]),
    ("Adam", {}, {}, [
        [1.000999999992, -1.99900000002, 0.49900000004],
        [1.001818606299, -1.999894992126, 0.4992297896461],
        [1.001737000656, -2.000222399711, 0.4991836537776],
    ]),
    ("Adam", {"lr": 0.1, "betas": (0.5, 0.75), "eps": 0.01, "weight_decay": 0.25}, {}, [
        [1.09900990099, -1.90099009901, 0.4025974025974],
        [1.086108437094, -1.913891562906, 0.3984000738994],
        [1.011065496621, -1.855905896997, 0.3816518173303],
    ]),
    ("Adam", {"lr": 0.1, "betas": (0.5, 0.75), "amsgrad": True, "maximize": True}, {}, [
        [0.9000000008, -2.099999998, 0.599999996],
        [0.8520773569231, -1.984067586833, 0.5788828114405],
        [0.8885189214946, -1.959222947579, 0.5749123370464],
    ]),
    ("AdamW", {}, {}, [
        [1.000989999992, -1.99898000002, 0.49899500004],
        [1.001788583144, -1.999835008303, 0.4992148048541],
        [1.001691951561, -2.000132417467, 0.4991611814014],
    ]),
    ("AdamW",
     {"lr": 0.1, "betas": (0.5, 0.75), "weight_decay": 0.25, "amsgrad": True, "maximize": True}, {}, [
        [0.8750000008, -2.049999998, 0.587499996],
        [0.7840947111572, -1.834515503582, 0.5391402460784],
        [0.7905749930056, -1.74173130411, 0.515237606853],
    ]),
    ("RMSprop", {}, {}, [
        [1.099999992, -1.90000002, 0.40000004],
        [1.097802378093, -2.011270326759, 0.4163030586687],
        [1.076604057028, -2.014274969485, 0.4261745312753],
    ]),
    ("RMSprop", {"lr": 0.1, "alpha": 0.5, "eps": 0.01, "weight_decay": 0.25, "momentum": 0.9}, {}, [
        [1.139449246087, -1.860550753913, 0.3637181540262],
        [1.21844907181, -1.78155092819, 0.2480976636314],
        [1.084887162996, -1.57672456906, 0.148803742831],
    ]),
    ("RMSprop", {"lr": 0.1, "alpha": 0.75, "momentum": 0.5, "centered": True, "maximize": True}, {}, [
        [0.7690598965908, -2.230940097009, 0.7309400863425],
        [0.6303651424064, -2.057538087047, 0.7658188723953],
        [0.697615271424, -2.015928086807, 0.7600640530023],
    ]),
    ("Adagrad", {}, {}, [
        [1.009999999999, -1.990000000002, 0.490000000004],
        [1.009767646355, -2.001110508768, 0.4916421875784],
        [1.007653058166, -2.001405385911, 0.4926278344515],
    ]),
    ("Adagrad",
     {"lr": 0.1, "lr_decay": 0.5, "weight_decay": 0.25, "initial_accumulator_value": 0.125, "eps": 0.01,
      "maximize": True}, {}, [
        [0.9032946544649, -2, 0.5324675324675],
        [0.8939166415124, -1.916108888354, 0.5053193349325],
        [0.8980692067024, -1.906115231751, 0.4974489802542],
    ]),
]
# fmt: on


@pytest.mark.parametrize(("name", "o", "late", "expected"), GOLDEN)
def test_each_rule_is_pytorchs(name, o, late, expected):
    p = parameter([1.0, -2.0, 0.5])
    optimizer = getattr(optim, name)([p], **o)
    seen = []
    for t in range(6):
        if t == 3:
            optimizer.param_groups[0]["lr"] /= 2
            optimizer.param_groups[0].update(late)
        descend(optimizer, p, [[((7 * t + 3 * i) % 11 - 5) / 4 for i in range(3)]])
        seen.append(p.data.copy())
    np.testing.assert_allclose([seen[0], seen[2], seen[5]], expected, rtol=1e-11)


SIGNATURES = {  # PyTorch's, less what chooses among its implementations
    SGD: "lr=0.001 momentum=0 dampening=0 weight_decay=0 nesterov=False maximize=False",
    Adam: "lr=0.001 betas=(0.9,0.999) eps=1e-08 weight_decay=0 amsgrad=False maximize=False",
    AdamW: "lr=0.001 betas=(0.9,0.999) eps=1e-08 weight_decay=0.01 amsgrad=False maximize=False",
    RMSprop: "lr=0.01 alpha=0.99 eps=1e-08 weight_decay=0 momentum=0 centered=False maximize=False",
    Adagrad: "lr=0.01 lr_decay=0 weight_decay=0 initial_accumulator_value=0 eps=1e-10 maximize=False",
}


@pytest.mark.parametrize("kind", SIGNATURES)
def test_each_signature_is_pytorchs(kind):
    params, *rest = inspect.signature(kind).parameters.values()
    assert params.name == "params"
    assert " ".join(f"{p.name}={p.default}".replace(", ", ",") for p in rest) == SIGNATURES[kind]
    assert rest[-1].kind is inspect.Parameter.KEYWORD_ONLY


@pytest.mark.parametrize(("kind", "oracle", "choices"), RULES, ids=[rule[0].__name__ for rule in RULES])
@settings(deadline=None, max_examples=100)
@given(data=st.data())
def test_each_rule_is_that_of_the_pytorch_installed(kind, oracle, choices, data):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed; it is a peer, not a requirement")
    o, later = data.draw(choices), data.draw(choices)
    start = data.draw(st.lists(eighths, min_size=1, max_size=3))
    p, q = parameter(start), torch.nn.Parameter(torch.tensor(start, dtype=torch.float64))
    ours, theirs = kind([p], **o), getattr(torch.optim, kind.__name__)([q], **o)
    for t, g in enumerate(data.draw(st.lists(eighths, max_size=8))):
        if t == 4:
            for group in (ours.param_groups[0], theirs.param_groups[0]):
                group.update({k: later[k] for k in ("lr", "weight_decay", "maximize")})
        q.grad = torch.full_like(q, g)
        theirs.step()
        descend(ours, p, [np.full(len(start), g)])
    np.testing.assert_allclose(p.data, q.detach().numpy(), rtol=1e-9, atol=1e-9)


def test_the_variance_of_a_steady_gradient_is_not_lost_to_rounding():
    """PyTorch's float32 parameters turn NaN here, after 131 steps."""
    g = np.random.default_rng(0).random(1000, dtype=np.float32) * 10
    p = parameter(np.zeros_like(g))
    optimizer = RMSprop([p], lr=1e-3, alpha=0.9, centered=True)
    for _ in range(300):
        before = p.data.copy()
        descend(optimizer, p, [g])
        # A standard deviation of at least √(machine epsilon) of the gradient's size bounds the step.
        assert np.abs(p.data - before).max() <= 1e-3 / math.sqrt(np.finfo(np.float32).eps) * 1.01


# Where training arrives


def bowl(p: Tensor) -> Tensor:
    return (p * p * tensor([1.0, 10.0], dtype=p.dtype)).sum()


def rosenbrock(p: Tensor) -> Tensor:
    x, y = p[0], p[1]
    return (1 - x) ** 2 + 100 * (y - x * x) ** 2


ROADS = [
    (SGD, {"lr": 0.02}, bowl, 300),
    (SGD, {"lr": 0.02, "momentum": 0.5, "nesterov": True}, bowl, 200),
    (Adam, {"lr": 0.05}, bowl, 400),
    (AdamW, {"lr": 0.05, "weight_decay": 0.1}, bowl, 400),
    (RMSprop, {"lr": 0.002}, bowl, 1500),
    (Adagrad, {"lr": 0.5}, bowl, 300),
    (SGD, {"lr": 1e-3, "momentum": 0.9}, rosenbrock, 1800),
    (Adam, {"lr": 0.02}, rosenbrock, 1800),
    (Adagrad, {"lr": 0.5}, rosenbrock, 1800),
]


@pytest.mark.parametrize(("kind", "o", "valley", "steps"), ROADS)
def test_it_arrives(kind, o, valley, steps):
    p = parameter([-1.0, 0.5])
    optimizer = kind([p], **o)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = valley(p)
        loss.backward()
        optimizer.step()
    assert valley(p).item() < 0.01  # from 3.5, and from 29


# Memory and arrays


def channels_last(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    n, c, h, w = shape
    return rng.standard_normal((n, h, w, c)).transpose(0, 3, 1, 2)


def every_layout(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Arrays of all sorts; those of more than 32,768 elements are updated in pieces, if these are small."""
    return {
        "number": np.array(rng.standard_normal()),
        "vector": rng.standard_normal(7),
        "nothing": np.zeros((0, 3)),
        "matrix": rng.standard_normal((301, 257)),
        "transposed": rng.standard_normal((301, 257)).T,
        "wide": rng.standard_normal((1, 70_000)),
        "long": rng.standard_normal(70_001),
        "strided": rng.standard_normal((400, 514))[::2, ::2],
        "small kernels": channels_last((4, 3, 5, 5), rng),
        "kernels": channels_last((67, 64, 3, 3), rng),
        "1×1 kernels": channels_last((300, 200, 1, 1), rng),
    }


@pytest.fixture
def small_pieces(monkeypatch):
    monkeypatch.setattr("minicnn.optim.sweep._PIECE", 1 << 15)


@pytest.mark.usefixtures("small_pieces")
@busy
def test_pieces_and_layouts_change_no_bit(kind, options):
    """Every element goes its own way: the same as it goes in one contiguous vector of a few."""
    rng = np.random.default_rng(0)
    arrays = every_layout(rng)
    grads = [{name: rng.standard_normal(a.shape) for name, a in arrays.items()} for _ in range(3)]
    expected = {}
    for name, a in arrays.items():
        few = np.linspace(0, a.size - 1, 100).astype(int) if a.size else []
        p = parameter(a.ravel()[few])
        descend(kind([p], **options), p, [g[name].ravel()[few] for g in grads])
        expected[name] = few, p.data
    params = {name: Tensor(a, requires_grad=True) for name, a in arrays.items()}
    optimizer = kind(params.values(), **options)
    for g in grads:
        for name, p in params.items():
            p.grad = g[name]
        optimizer.step()
    for name, (few, values) in expected.items():
        np.testing.assert_array_equal(params[name].data.ravel()[few], values, err_msg=name)


@pytest.mark.usefixtures("small_pieces")
def test_pieces_are_small_and_contiguous():
    """So that they stay in the cache, and scratch memory is small; whatever the order of the axes."""
    for name, array in every_layout(np.random.default_rng(0)).items():
        pieces = []
        sweep([(lambda p, pieces=pieces: pieces.append(p), {"p": array})])
        assert sum(piece.size for piece in pieces) == array.size, name
        assert max(piece.size for piece in pieces) <= 1 << 15, name
        assert name == "strided" or all(piece.flags.c_contiguous for piece in pieces), name


@pytest.mark.usefixtures("small_pieces")
@busy
def test_parameters_change_in_place_and_gradients_not_at_all(kind, options):
    rng = np.random.default_rng(0)
    for name, array in every_layout(rng).items():
        p = Tensor(array, requires_grad=True)
        g = np.asarray(rng.standard_normal(array.shape))
        p.grad = g
        before, gradient = array.copy(), g.copy()
        optimizer = kind([p], **options)
        for _ in range(3):
            optimizer.step()
        assert p.data is array, name
        assert p.grad is g, name
        np.testing.assert_array_equal(g, gradient, err_msg=name)
        assert not array.size or (array != before).any(), name
        for key, value in optimizer.state[p].items():
            if key != "step":
                same_axes = cpu.empty_like(array)  # dense, in the order of the parameter's axes
                assert (value.shape, value.dtype, value.strides) == (
                    array.shape,
                    array.dtype,
                    same_axes.strides,
                )


@busy
def test_a_step_allocates_no_arrays_of_parameter_size(kind, options):
    p = parameter(np.ones((1024, 1024), np.float32), np.ones((1024, 1024), np.float32))
    optimizer = kind([p], **options)
    optimizer.step()
    tracemalloc.start()
    try:
        optimizer.step()
        optimizer.step()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < p.data.nbytes / 8


@busy
def test_the_threads_change_no_bit(kind, options):
    rng = np.random.default_rng(0)
    start, grads = rng.standard_normal((700, 701)), rng.standard_normal((2, 700, 701))
    before, results = get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            set_num_threads(threads)
            p = parameter(start)
            descend(kind([p], **options), p, grads)
            results.append(p.data.tobytes())
    finally:
        set_num_threads(before)
    assert len(set(results)) == 1


@busy
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_dtype_is_kept(kind, options, dtype):
    p = parameter(np.ones(3, dtype), np.ones(3, dtype))
    optimizer = kind([p], **options)
    optimizer.step()
    assert p.dtype == dtype
    assert all(value.dtype == dtype for key, value in optimizer.state[p].items() if key != "step")


@busy
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_nan_and_infinities_stay_where_they_are(kind, options, bad):
    """And give no warning, in no thread: all warnings are errors here."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for size in (3, 600_000):
            p, clean = parameter(np.ones(size)), parameter(np.ones(size))
            g = np.ones(size)
            g[1] = bad
            descend(kind([p], **options), p, [g, g, g])
            descend(kind([clean], **options), clean, np.ones((3, size)))
            # An infinite gradient may go either way, ∞ or ∞/∞ = NaN, but never to a number that looks sound.
            assert not np.isfinite(p.data[1])
            np.testing.assert_array_equal(np.delete(p.data, 1), np.delete(clean.data, 1))


def test_no_gradient_no_step():
    idle, moved = parameter([1.0]), parameter([1.0], [1.0])
    optimizer = SGD([idle, moved], lr=0.5, momentum=0.9, weight_decay=0.1)
    optimizer.step()
    assert idle.data.tolist() == [1.0]
    assert moved.data == pytest.approx(0.45)
    assert idle not in optimizer.state
    Adam([idle]).step()  # nothing to do at all


def test_a_parameter_counts_its_own_steps():
    """Adam's correction of a parameter that had no gradient at first is that of its first step."""
    early, late = parameter([1.0], [1.0]), parameter([1.0])
    optimizer = Adam([early, late], lr=0.25)
    optimizer.step()
    late.grad = np.ones(1)
    optimizer.step()
    assert late.data == pytest.approx(0.75)
    assert (optimizer.state[early]["step"], optimizer.state[late]["step"]) == (2, 1)


# Groups


def test_groups_have_their_own_options():
    a, b = parameter([1.0], [1.0]), parameter([1.0], [1.0])
    group = {"params": [b], "lr": 0.25, "weight_decay": 1.0}
    optimizer = SGD([{"params": a}, group], lr=0.5)
    optimizer.step()
    assert (a.data.tolist(), b.data.tolist()) == ([0.5], [0.5])
    assert group == {"params": [b], "lr": 0.25, "weight_decay": 1.0}, "the caller's dict is left alone"
    c = parameter([1.0], [1.0])
    optimizer.add_param_group({"params": iter([c]), "lr": 1})
    optimizer.step()
    assert (a.data.tolist(), b.data.tolist(), c.data.tolist()) == ([0.0], [0.125], [0.0])


def test_options_changed_by_hand_count_at_the_next_step():
    p = parameter([1.0], [1.0])
    optimizer = SGD([p], lr=0.5)
    optimizer.param_groups[0]["lr"] = 0.25
    optimizer.step()
    assert p.data.tolist() == [0.75]


def test_zero_grad():
    p, idle = parameter([1.0], [2.0]), parameter([1.0])
    optimizer = SGD([p, idle])
    array = p.grad
    optimizer.zero_grad(set_to_none=False)
    assert p.grad is array
    assert array.tolist() == [0.0]
    assert idle.grad is None
    optimizer.zero_grad()
    assert p.grad is None


def test_step_calls_the_closure_first_and_returns_its_loss():
    p = parameter([2.0])
    optimizer = SGD([p], lr=0.25)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = (p * p).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 4.0
    assert p.data.tolist() == [1.0]
    assert optimizer.step() is None


def test_step_leaves_no_graph():
    p = tensor([1.0], requires_grad=True)
    (p * p).sum().backward()
    SGD([p], lr=0.5).step()
    assert p.is_leaf
    assert p.requires_grad
    with no_grad():
        SGD([p], lr=0.5).step()


def test_repr_is_pytorchs():
    optimizer = SGD([parameter([1.0])], lr=0.5)
    optimizer.add_param_group({"params": [parameter([1.0])], "momentum": 0.9})
    assert repr(optimizer) == (
        "SGD (\n"
        "Parameter Group 0\n    dampening: 0.0\n    lr: 0.5\n    maximize: False\n    momentum: 0.0\n"
        "    nesterov: False\n    weight_decay: 0.0\n"
        "Parameter Group 1\n    dampening: 0.0\n    lr: 0.5\n    maximize: False\n    momentum: 0.9\n"
        "    nesterov: False\n    weight_decay: 0.0\n"
        ")"
    )


p1 = parameter([1.0])
MISTAKES = [
    (SGD, [[p1]], {"lr": -0.1}, ValueError, r"SGD: lr must be in \[0, inf\), got -0.1"),
    (SGD, [[p1]], {"lr": math.nan}, ValueError, "SGD: lr .* got nan"),
    (SGD, [[p1]], {"lr": math.inf}, ValueError, "SGD: lr .* got inf"),
    (SGD, [[p1]], {"lr": "0.1"}, TypeError, "SGD: lr must be a number, got '0.1'"),
    (SGD, [[p1]], {"lr": True}, TypeError, "SGD: lr must be a number, got True"),
    (SGD, [[p1]], {"momentum": -0.1}, ValueError, "SGD: momentum .* got -0.1"),
    (SGD, [[p1]], {"dampening": math.inf}, ValueError, "SGD: dampening .* got inf"),
    (SGD, [[p1]], {"dampening": -math.inf}, ValueError, "SGD: dampening .* got -inf"),
    (SGD, [[p1]], {"weight_decay": -1}, ValueError, "SGD: weight_decay .* got -1"),
    (SGD, [[p1]], {"nesterov": True}, ValueError, "SGD: nesterov needs momentum .* got momentum=0"),
    (
        SGD,
        [[p1]],
        {"nesterov": True, "momentum": 0.9, "dampening": 0.5},
        ValueError,
        "SGD: nesterov .* dampening=0.5",
    ),
    (Adam, [[p1]], {"lr": -1}, ValueError, "Adam: lr .* got -1"),
    (Adam, [[p1]], {"betas": (1.0, 0.9)}, ValueError, r"Adam: betas\[0\] must be in \[0, 1\), got 1.0"),
    (Adam, [[p1]], {"betas": (0.9, -0.1)}, ValueError, r"Adam: betas\[1\] .* got -0.1"),
    (Adam, [[p1]], {"betas": (0.9,)}, ValueError, "Adam: betas must be two numbers, got"),
    (Adam, [[p1]], {"betas": 0.9}, ValueError, "Adam: betas must be two numbers, got 0.9"),
    (Adam, [[p1]], {"eps": -1e-8}, ValueError, "Adam: eps .* got -1e-08"),
    (AdamW, [[p1]], {"weight_decay": -1}, ValueError, "AdamW: weight_decay .* got -1"),
    (RMSprop, [[p1]], {"alpha": 1.5}, ValueError, r"RMSprop: alpha must be in \[0, 1\), got 1.5"),
    (RMSprop, [[p1]], {"momentum": -1}, ValueError, "RMSprop: momentum .* got -1"),
    (Adagrad, [[p1]], {"lr_decay": -1}, ValueError, "Adagrad: lr_decay .* got -1"),
    (Adagrad, [[p1]], {"initial_accumulator_value": -1}, ValueError, "Adagrad: initial_accum.* got -1"),
    (SGD, [[]], {}, ValueError, "SGD: a parameter group must have at least one parameter"),
    (SGD, [iter([])], {}, ValueError, "SGD: a parameter group must have at least one parameter"),
    (SGD, [[{"params": []}]], {}, ValueError, "SGD: a parameter group must have at least one parameter"),
    (SGD, [p1], {}, TypeError, "SGD: params must be an iterable of Tensors or dicts, got one Tensor"),
    (SGD, [{"params": [p1]}], {}, TypeError, "SGD: params must be an iterable .* got one dict"),
    (SGD, [{p1}], {}, TypeError, "SGD: params must be iterable in a fixed order, got a set"),
    (SGD, [3], {}, TypeError, "SGD: params must be iterable in a fixed order, got a int"),
    (SGD, [[p1.data]], {}, TypeError, "SGD: parameters must be Tensors, parameter 0 is a ndarray"),
    (SGD, [[("name", p1)]], {}, TypeError, "SGD: parameters must be Tensors, parameter 0 is a tuple"),
    (SGD, [[p1, {"params": [p1]}]], {}, TypeError, "SGD: parameters must be Tensors, parameter 1 is a dict"),
    (SGD, [[{"params": [p1]}, p1]], {}, TypeError, "SGD: a parameter group must be a dict .* got Tensor"),
    (SGD, [[{"lr": 1}]], {}, ValueError, r"SGD: a parameter group must hold 'params', got \['lr'\]"),
    (SGD, [[p1 * 2]], {}, ValueError, "SGD: parameters must be leaf tensors, parameter 0 was computed"),
    (SGD, [[p1, p1]], {}, ValueError, r"SGD: parameter 1 of a group, of shape \(1,\), occurs twice"),
    (SGD, [[{"params": p1}, {"params": [p1]}]], {}, ValueError, "SGD: parameter 0 of a group.* occurs twice"),
    (SGD, [[{"params": p1, "lrr": 1}]], {}, ValueError, "SGD: unknown option 'lrr'; did you mean 'lr'"),
    (SGD, [[{"params": p1, "zz": 1}]], {}, ValueError, r"SGD: unknown option 'zz'; the options are \['damp"),
    (SGD, [[{"params": p1, "lr": -1}]], {}, ValueError, "SGD: lr .* got -1"),
    (Adam, [[{"params": p1, "betas": (0, 2)}]], {}, ValueError, r"Adam: betas\[1\] .* got 2"),
]


@pytest.mark.parametrize(("kind", "arguments", "o", "error", "message"), MISTAKES)
def test_mistakes_are_named(kind, arguments, o, error, message):
    with pytest.raises(error, match=message):
        kind(*arguments, **o)


def test_a_group_that_is_refused_changes_nothing():
    a, b = parameter([1.0]), parameter([1.0])
    optimizer = SGD([a])
    for group in ({"params": [b, a]}, {"params": [b], "momentun": 1}, {"params": [b], "lr": -1}):
        with pytest.raises(ValueError, match="SGD"):
            optimizer.add_param_group(group)
    assert [group["params"] for group in optimizer.param_groups] == [[a]]


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        (np.ones((1, 2)), ValueError, r"the gradient must have .* \(2,\) float64; got \(1, 2\) float64"),
        (np.ones(2, np.float32), ValueError, r"the gradient must have .* \(2,\) float64; got \(2,\) float32"),
        ([1.0, 1.0], TypeError, "list"),
    ],
)
def test_a_gradient_that_does_not_fit_changes_nothing(bad, error, message):
    first, second = parameter([1.0], [1.0]), parameter([1.0, 1.0])
    optimizer = Adam([first, second])
    second.grad = bad
    with pytest.raises(error, match=message):
        optimizer.step()
    assert first.data.tolist() == [1.0]
    second.grad = None
    optimizer.step()
    assert optimizer.state[first]["step"] == 1


def test_a_parameter_that_was_replaced_by_another_shape_is_refused():
    p = parameter([1.0, 1.0], [1.0, 1.0])
    optimizer = Adam([p])
    optimizer.step()
    p.data, p.grad = np.ones(1), np.ones(1)
    with pytest.raises(
        ValueError, match=r"Adam.step: exp_avg must have .* \(1,\) float64; got \(2,\) float64"
    ):
        optimizer.step()


# Checkpoints


def twins(kind: type[Optimizer], options: dict[str, Any]) -> tuple[list[Tensor], Optimizer]:
    rng = np.random.default_rng(0)
    params = [Tensor(channels_last((2, 3, 2, 2), rng), True), Tensor(rng.standard_normal(4), True)]
    groups = [{"params": params[:1]}, {"params": params[1:], "lr": options["lr"] / 2}]
    return params, kind(groups, **options)


def train(params: list[Tensor], optimizer: Optimizer, epochs: range) -> None:
    for epoch in epochs:
        rng = np.random.default_rng(epoch)
        for p in params:
            p.grad = rng.standard_normal(p.shape)
        optimizer.step()


def through_json(state: dict[str, Any]) -> dict[str, Any]:
    """Return the groups as a file's metadata would give them back: tuples are lists now."""
    return {
        "state": copy.deepcopy(state["state"]),
        "param_groups": json.loads(json.dumps(state["param_groups"])),
    }


@busy
def test_resuming_is_going_on(kind, options):
    params, optimizer = twins(kind, options)
    train(params, optimizer, range(3))
    optimizer.param_groups[0]["lr"] = 0.0625
    saved, arrays = through_json(optimizer.state_dict()), [p.data.copy() for p in params]
    train(params, optimizer, range(3, 6))

    others, resumed = twins(kind, {"lr": 0.5})
    for p, array in zip(others, arrays, strict=True):
        p.data[...] = array
    resumed.load_state_dict(saved)
    assert resumed.state[others[0]]["step"] == 3
    for value in resumed.state[others[0]].values():
        assert isinstance(value, int) or value.strides == others[0].data.strides
    untouched = copy.deepcopy(saved)
    train(others, resumed, range(3, 6))
    for p, q in zip(params, others, strict=True):
        np.testing.assert_array_equal(p.data, q.data)
    np.testing.assert_equal(saved, untouched, "loading copies: the saved state stays as it was")


def test_the_state_dict_is_pytorchs():
    """Names and nesting; plain containers, numbers and arrays.  Only the step is an int and not a tensor."""
    params, optimizer = twins(Adam, {"lr": 0.5, "amsgrad": True})
    assert optimizer.state_dict()["state"] == {}
    train(params, optimizer, range(2))
    state = optimizer.state_dict()
    assert [group["params"] for group in state["param_groups"]] == [[0], [1]]
    assert state["param_groups"][1]["lr"] == 0.25
    assert list(state["state"]) == [0, 1]
    assert list(state["state"][0]) == ["step", "exp_avg", "exp_avg_sq", "max_exp_avg_sq"]
    assert state["state"][0]["exp_avg"] is optimizer.state[params[0]]["exp_avg"]


def test_sgd_without_momentum_remembers_nothing():
    p = parameter([1.0], [1.0])
    optimizer = SGD([p], lr=0.5)
    optimizer.step()
    assert optimizer.state_dict()["state"] == {}
    optimizer.load_state_dict(optimizer.state_dict())
    # Momentum that was switched off again is not saved, nor in the way of loading.
    optimizer.param_groups[0]["momentum"] = 0.5
    optimizer.step()
    optimizer.param_groups[0]["momentum"] = 0.0
    assert optimizer.state_dict()["state"] == {}
    optimizer.load_state_dict(optimizer.state_dict())


def test_a_float64_checkpoint_fills_float32_parameters():
    p, q = parameter([1.0], [1.0]), parameter(np.ones(1, np.float32), [1.0])
    source, target = Adam([p]), Adam([q])
    source.step()
    target.load_state_dict(source.state_dict())
    assert target.state[q]["exp_avg"].dtype == np.float32
    assert target.state[q]["exp_avg"] is not source.state[p]["exp_avg"]


def broken(change: Any) -> Any:
    """Return a good state of twins(Adam), after `change`."""
    params, optimizer = twins(Adam, {"lr": 0.5})
    train(params, optimizer, range(2))
    state = through_json(optimizer.state_dict())
    return change(state) or state


def without(key: str, *path: Any) -> Any:
    def change(state: Any) -> None:
        for step in path:
            state = state[step]
        del state[key]

    return change


def put(value: Any, *path: Any) -> Any:
    def change(state: Any) -> None:
        for step in path[:-1]:
            state = state[step]
        state[path[-1]] = value

    return change


UNFIT = [
    (lambda state: {"model": 1}, "must hold 'state' and 'param_groups'"),
    (lambda state: 3, "must hold 'state' and 'param_groups'"),
    (put({}, "param_groups"), "there must be 2 parameter groups, got dict"),
    (put([], "param_groups"), "there must be 2 parameter groups, got 0"),
    (put([3, 3], "param_groups"), "group 0 must be a dict with a list of 'params'"),
    (put([1, 2], "param_groups", 1, "params"), "group 1 must have 1 parameters, got 2"),
    (without("params", "param_groups", 0), "group 0 must be a dict with a list of 'params'"),
    (without("betas", "param_groups", 1), r"the group of parameters \[1\] must have \['betas'\]"),
    (put(-1, "param_groups", 1, "lr"), r"lr must be in \[0, inf\), got -1"),
    (put(0.9, "param_groups", 1, "momentum"), "unknown option 'momentum'"),
    (put([], "state"), "'state' must be a dict, got a list"),
    (put({}, "state", 7), "parameter 7 of 'state' is in no group"),
    (
        put({}, "state", 1),
        r"the state of parameter 1 must hold \['exp_avg', 'exp_avg_sq', 'step'\], got \[\]",
    ),
    (put(3, "state", 1), "the state of parameter 1 must hold .* got int"),
    (without("exp_avg_sq", "state", 1), "the state of parameter 1 must hold"),
    (put(np.ones(4), "state", 1, "sum"), "the state of parameter 1 must hold"),
    (
        put(np.ones(5), "state", 1, "exp_avg"),
        r"exp_avg of parameter 1 must be .* of shape \(4,\); got float64",
    ),
    (put(np.ones((1, 4)), "state", 1, "exp_avg"), r"exp_avg of parameter 1 .* shape \(1, 4\)"),
    (put(np.ones(4, int), "state", 1, "exp_avg"), "exp_avg of parameter 1 .* got int64"),
    (put([1.0] * 4, "state", 1, "exp_avg"), "arrays, got builtins.list"),
    (put(-1, "state", 1, "step"), "step of parameter 1 must be at least 0, got -1"),
    (put(1.5, "state", 1, "step"), "step of parameter 1 must be an int, got 1.5"),
]


@pytest.mark.parametrize(("change", "message"), UNFIT)
def test_a_state_that_does_not_fit_changes_nothing(change, message):
    params, optimizer = twins(Adam, {"lr": 0.5})
    train(params, optimizer, range(1))
    before = copy.deepcopy(optimizer.state_dict())
    with pytest.raises((ValueError, TypeError), match=message):
        optimizer.load_state_dict(broken(change))
    np.testing.assert_equal(optimizer.state_dict(), before)


@pytest.mark.parametrize("other", [SGD, RMSprop, Adagrad])
def test_the_state_of_another_rule_is_refused(other):
    params, optimizer = twins(other, {"lr": 0.5})
    train(params, optimizer, range(1))
    with pytest.raises(ValueError, match="Adam"):
        twins(Adam, {"lr": 0.5})[1].load_state_dict(optimizer.state_dict())
