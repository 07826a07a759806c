"""Learning-rate schedules: against PyTorch's numbers, their closed forms, and resumed in mid-course."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from minicnn import tensor
from minicnn.optim import SGD, Optimizer
from minicnn.optim.lr_scheduler import (
    CosineAnnealingLR,
    LambdaLR,
    LinearLR,
    LRScheduler,
    MultiStepLR,
    PolynomialLR,
    ReduceLROnPlateau,
    StepLR,
)
from minicnn.tensor import Tensor


def parameter() -> Tensor:
    return tensor([1.0], requires_grad=True)


def through_json(state: dict[str, Any]) -> dict[str, Any]:
    return json.loads(json.dumps(state))


def one(lr: float = 0.5) -> Optimizer:
    return SGD([parameter()], lr=lr)


def rates(optimizer: Optimizer, schedulers: list[LRScheduler], epochs: int) -> list[float]:
    """Return the rate before each epoch and after the last."""
    seen = [optimizer.param_groups[0]["lr"]]
    for _ in range(epochs):
        for scheduler in schedulers:
            scheduler.step()
        seen.append(optimizer.param_groups[0]["lr"])
    return seen


SCHEDULES: dict[str, Any] = {
    "StepLR(o, 7, 0.5)": lambda o: [StepLR(o, 7, 0.5)],
    "MultiStepLR(o, [3, 11, 11, 20], 0.5)": lambda o: [MultiStepLR(o, [3, 11, 11, 20], 0.5)],
    "MultiStepLR(o, [0, 5])": lambda o: [MultiStepLR(o, [0, 5])],
    "LinearLR(o)": lambda o: [LinearLR(o)],
    "LinearLR(o, 1.0, 0.25, 24)": lambda o: [LinearLR(o, 1.0, 0.25, 24)],
    "PolynomialLR(o)": lambda o: [PolynomialLR(o)],
    "PolynomialLR(o, 25, 0.9)": lambda o: [PolynomialLR(o, 25, 0.9)],
    "CosineAnnealingLR(o, 25)": lambda o: [CosineAnnealingLR(o, 25)],
    "CosineAnnealingLR(o, 7, 0.125)": lambda o: [CosineAnnealingLR(o, 7, 0.125)],
    "CosineAnnealingLR(o, 1)": lambda o: [CosineAnnealingLR(o, 1)],
    "LambdaLR(o, lambda t: 0.95**t)": lambda o: [LambdaLR(o, lambda t: 0.95**t)],
    "LinearLR(o, 0.25, 1.0, 4), CosineAnnealingLR(o, 28)": lambda o: [
        LinearLR(o, 0.25, 1.0, 4),
        CosineAnnealingLR(o, 28),
    ],
}

# What PyTorch 2.13.0 computes: the rate at epochs 0 to 30, for a base rate of 0.5.
# fmt: off
RATES = {
    "StepLR(o, 7, 0.5)": [
        *[0.5] * 7, *[0.25] * 7, *[0.125] * 7, *[0.0625] * 7, *[0.03125] * 3,
    ],
    "MultiStepLR(o, [3, 11, 11, 20], 0.5)": [
        *[0.5] * 3, *[0.25] * 8, *[0.0625] * 9, *[0.03125] * 11,
    ],
    "MultiStepLR(o, [0, 5])": [
        *[0.05] * 5, *[0.005] * 26,
    ],
    "LinearLR(o)": [
        0.166666667, 0.233333333, 0.3, 0.366666667, 0.433333333, *[0.5] * 26,
    ],
    "LinearLR(o, 1.0, 0.25, 24)": [
        0.5, 0.484375, 0.46875, 0.453125, 0.4375, 0.421875, 0.40625, 0.390625, 0.375, 0.359375,
        0.34375, 0.328125, 0.3125, 0.296875, 0.28125, 0.265625, 0.25, 0.234375, 0.21875, 0.203125,
        0.1875, 0.171875, 0.15625, 0.140625, *[0.125] * 7,
    ],
    "PolynomialLR(o)": [
        0.5, 0.4, 0.3, 0.2, 0.1, *[0] * 26,
    ],
    "PolynomialLR(o, 25, 0.9)": [
        0.5, 0.481963461, 0.463851589, 0.445660773, 0.427387053, 0.409026073, 0.390573018,
        0.372022538, 0.353368657, 0.334604657, 0.315722934, 0.296714813, 0.277570312, 0.258277824,
        0.238823695, 0.219191645, 0.199361942, 0.179310196, 0.159005531, 0.138407659, 0.117461894,
        0.0960899547, 0.0741708277, 0.0514933317, 0.0275945932, *[0] * 6,
    ],
    "CosineAnnealingLR(o, 25)": [
        0.5, 0.498028675, 0.49214579, 0.482444121, 0.46907667, 0.452254249, 0.432242157, 0.409355997,
        0.383956699, 0.356444823, 0.327254249, 0.296845329, 0.26569763, 0.23430237, 0.203154671,
        0.172745751, 0.143555177, 0.116043301, 0.0906440026, 0.0677578431, 0.0477457514, 0.03092333,
        0.0175558785, 0.00785420972, 0.00197132467, 0, 0.00197132467, 0.00785420972, 0.0175558785,
        0.03092333, 0.0477457514,
    ],
    "CosineAnnealingLR(o, 7, 0.125)": [
        0.5, 0.481431663, 0.429404338, 0.354222675, 0.270777325, 0.195595662, 0.143568337, 0.125,
        0.143568337, 0.195595662, 0.270777325, 0.354222675, 0.429404338, 0.481431663, 0.5,
        0.481431663, 0.429404338, 0.354222675, 0.270777325, 0.195595662, 0.143568337, 0.125,
        0.143568337, 0.195595662, 0.270777325, 0.354222675, 0.429404338, 0.481431663, 0.5,
        0.481431663, 0.429404338,
    ],
    "CosineAnnealingLR(o, 1)": [
        0.5, 0, 0.5, 0, 0.5, 0, 0.5, 0, 0.5, 0, 0.5, 0, 0.5, 0, 0.5, 0, 0.5, 0, 0.5, 0, 0.5, 0, 0.5,
        0, 0.5, 0, 0.5, 0, 0.5, 0, 0.5,
    ],
    "LambdaLR(o, lambda t: 0.95**t)": [
        0.5, 0.475, 0.45125, 0.4286875, 0.407253125, 0.386890469, 0.367545945, 0.349168648,
        0.331710216, 0.315124705, 0.29936847, 0.284400046, 0.270180044, 0.256671042, 0.24383749,
        0.231645615, 0.220063334, 0.209060168, 0.198607159, 0.188676801, 0.179242961, 0.170280813,
        0.161766772, 0.153678434, 0.145994512, 0.138694787, 0.131760047, 0.125172045, 0.118913443,
        0.11296777, 0.107319382,
    ],
    "LinearLR(o, 0.25, 1.0, 4), CosineAnnealingLR(o, 28)": [
        0.125, 0.218062273, 0.308582486, 0.394851301, 0.475242217, 0.46168105, 0.445457871,
        0.426776695, 0.40587245, 0.383008019, 0.358470935, 0.332569765, 0.305630233, 0.277991119,
        0.25, 0.222008881, 0.194369767, 0.167430235, 0.141529065, 0.116991981, 0.0941275495,
        0.0732233047, 0.0545421294, 0.0383189502, 0.024757783, 0.0140291674, 0.00626802195,
        0.00157194753, 0, 0.00157194753, 0.00626802195,
    ],
}
# CosineAnnealingLR(o, 25), and the rate halved by hand in epoch 5.
HALVED = [
    0.5, 0.498028675, 0.49214579, 0.482444121, 0.46907667, 0.452254249, 0.216121078, 0.204677999,
    0.191978349, 0.178222411, 0.163627124, 0.148422664, 0.132848815, 0.117151185, 0.101577336,
    0.0863728757, 0.0717775886, 0.0580216506, 0.0453220013, 0.0338789216, 0.0238728757,
    0.015461665, 0.00877793926, 0.00392710486, 0.000985662336, 0, 0.00197132467, 0.00785420972,
    0.0175558785, 0.03092333, 0.0477457514,
]
# fmt: on


@pytest.mark.parametrize("name", SCHEDULES)
def test_each_schedule_is_pytorchs(name):
    optimizer = one()
    seen = rates(optimizer, SCHEDULES[name](optimizer), 30)
    np.testing.assert_allclose(seen, RATES[name], rtol=1e-7, atol=1e-12)


def test_a_rate_changed_by_hand_is_carried_on():
    optimizer = one()
    scheduler = CosineAnnealingLR(optimizer, 25)
    seen = rates(optimizer, [scheduler], 5)
    optimizer.param_groups[0]["lr"] *= 0.5
    seen += rates(optimizer, [scheduler], 25)[1:]
    np.testing.assert_allclose(seen, HALVED, rtol=1e-7, atol=1e-12)


def test_a_rate_changed_by_hand_at_the_bottom_is_carried_on():
    optimizer = one()
    scheduler = CosineAnnealingLR(optimizer, 25)
    rates(optimizer, [scheduler], 25)
    optimizer.param_groups[0]["lr"] = 0.125
    scheduler.step()
    assert scheduler.get_last_lr() == [pytest.approx(0.125 + RATES["CosineAnnealingLR(o, 25)"][26])]


def cosine(t: int, n: int) -> float:
    return 0.125 + 0.375 * (1 + math.cos(math.pi * t / n)) / 2


CLOSED_FORMS: list[tuple[Any, Any]] = [
    (lambda o, n, **last: StepLR(o, n, 0.5, **last), lambda t, n: 0.5 * 0.5 ** (t // n)),
    (
        lambda o, n, **last: MultiStepLR(o, [n, 2 * n], 0.5, **last),
        lambda t, n: 0.5 * 0.5 ** ((t >= n) + (t >= 2 * n)),
    ),
    (
        lambda o, n, **last: LinearLR(o, 0.25, 0.75, n, **last),
        lambda t, n: 0.5 * (0.25 + 0.5 * min(t, n) / n),
    ),
    (lambda o, n, **last: PolynomialLR(o, n, 2.0, **last), lambda t, n: 0.5 * (1 - min(t, n) / n) ** 2),
    (lambda o, n, **last: CosineAnnealingLR(o, n, 0.125, **last), cosine),
    (lambda o, n, **last: LambdaLR(o, lambda t: t / n, **last), lambda t, n: 0.5 * t / n),
]
closed_forms = pytest.mark.parametrize(("make", "closed"), CLOSED_FORMS)


@closed_forms
@pytest.mark.parametrize("n", [1, 2, 3, 10, 29])
def test_the_recursion_is_the_closed_form(make, closed, n):
    optimizer = one()
    expected = [closed(t, n) for t in range(61)]
    np.testing.assert_allclose(rates(optimizer, [make(optimizer, n)], 60), expected, rtol=1e-9, atol=1e-12)


@closed_forms
@pytest.mark.parametrize("reached", [0, 1, 7, 8, 12])
def test_a_schedule_resumes_from_its_state(make, closed, reached):
    whole, part, later = one(), one(), one(lr=0.9)
    expected = rates(whole, [make(whole, 7)], 30)
    scheduler = make(part, 7)
    rates(part, [scheduler], reached)
    resumed = make(later, 3)
    resumed.load_state_dict(through_json(scheduler.state_dict()))
    later.load_state_dict(through_json(part.state_dict()))
    if isinstance(resumed, LambdaLR):
        resumed.lr_lambdas = scheduler.lr_lambdas  # functions are in no state dict
    assert resumed.get_last_lr() == [expected[reached]]
    assert rates(later, [resumed], 30 - reached) == expected[reached:]


@closed_forms
@pytest.mark.parametrize("reached", [1, 7, 8, 12])
def test_a_schedule_resumes_from_its_epoch(make, closed, reached):
    whole, part, later = one(), one(), one(lr=0.9)
    expected = rates(whole, [make(whole, 7)], 30)
    rates(part, [make(part, 7)], reached)
    later.load_state_dict(through_json(part.state_dict()))
    resumed = make(later, 7, last_epoch=reached - 1)
    assert resumed.last_epoch == reached
    assert resumed.get_last_lr() == [expected[reached]]
    assert rates(later, [resumed], 30 - reached) == expected[reached:]


def test_each_group_has_its_base_rate():
    a, b = parameter(), parameter()
    optimizer = SGD([{"params": a}, {"params": b, "lr": 0.25}], lr=0.5)
    scheduler = LambdaLR(optimizer, [lambda t: 1 / (1 + t), lambda t: t])
    scheduler.step()
    scheduler.step()
    assert scheduler.get_last_lr() == [0.5 / 3, 0.5]
    assert scheduler.base_lrs == [0.5, 0.25]
    assert [group["lr"] for group in optimizer.param_groups] == [0.5 / 3, 0.5]


def test_get_last_lr_is_a_copy():
    scheduler = StepLR(one(), 1)
    scheduler.get_last_lr()[0] = 7.0
    assert scheduler.get_last_lr() == [0.5]


def test_a_schedule_of_ones_own():
    class Inverse(LRScheduler):
        def get_lr(self) -> list[float]:
            return [base / (1 + self.last_epoch) for base in self.base_lrs]

    optimizer = one()
    assert rates(optimizer, [Inverse(optimizer)], 2) == [0.5, 0.25, 0.5 / 3]


# What PyTorch 2.13.0 does with these values (negated for mode "max"), from a rate of 0.5: after which of
# them the rate falls, and where it ends.
# fmt: off
VALUES = [
    *[8, 6, 5, 5, 4.9, 4.9, 4.95, 4.9, 4.9, 3, 3, 3, 3.2, 3, 2.9],
    *[2.95, 2.95, 2.95, 1, 1, 1, 1, 1, -1, -1.05, -1, -1, -1, -1, -1],
]
PLATEAUS = [
    ({"patience": 2}, [7, 12, 17, 21, 27], 5e-06),
    ({"patience": 0, "factor": 0.5, "cooldown": 2}, [3, 6, 10, 13, 16, 19, 22, 25, 28], 0.0009765625),
    ({"patience": 1, "factor": 0.5, "threshold": 0.05}, [4, 6, 8, 11, 13, 15, 17, 20, 22], 0.0009765625),
    ({"patience": 1, "factor": 0.5, "threshold": 0.25, "threshold_mode": "abs"},
     [4, 6, 8, 11, 13, 15, 17, 20, 22, 25, 27, 29], 0.0001220703125),
    ({"patience": 1, "factor": 0.5, "threshold": 0.25, "threshold_mode": "abs", "cooldown": 3},
     [4, 11, 16, 21, 26], 0.015625),
    ({"mode": "max", "patience": 3, "factor": 0.5}, [28], 0.25),
    ({"mode": "max", "patience": 3, "factor": 0.5, "threshold": 0.3}, [27], 0.25),
    ({"mode": "max", "threshold_mode": "abs", "threshold": 0.15, "patience": 1, "cooldown": 1, "factor": 0.5},
     [4, 7, 11, 14, 17, 20, 25, 28], 0.001953125),
    ({"patience": 0, "factor": 0.25, "min_lr": 0.03}, [3, 5, 6], 0.03),
    ({"patience": 0, "factor": 0.5, "eps": 0.03}, [3, 5, 6, 7], 0.03125),
]
# fmt: on


@pytest.mark.parametrize(("o", "falls", "end"), PLATEAUS)
@pytest.mark.parametrize("pause", [None, 0, 5, 12, 20])
def test_plateaus_are_pytorchs(o, falls, end, pause):
    """Also when the schedule is saved and taken up by another in between."""
    optimizer = one()
    scheduler = ReduceLROnPlateau(optimizer, **o)
    seen = [0.5]
    for i, value in enumerate(VALUES):
        if i == pause:
            saved = json.loads(json.dumps(scheduler.state_dict()))
            scheduler = ReduceLROnPlateau(optimizer)
            scheduler.load_state_dict(saved)
        scheduler.step(-value if o.get("mode") == "max" else value)
        seen.append(scheduler.get_last_lr()[0])
    assert [i for i in range(len(VALUES)) if seen[i + 1] != seen[i]] == falls
    assert seen[-1] == optimizer.param_groups[0]["lr"] == pytest.approx(end, rel=1e-9)


def test_a_plateaus_least_rate_may_differ_by_group():
    optimizer = SGD([{"params": parameter()}, {"params": parameter()}], lr=0.5)
    scheduler = ReduceLROnPlateau(optimizer, patience=0, factor=0.5, min_lr=[0.4, 0.1])
    for loss in (1, 1, 1, 1, 1):
        scheduler.step(loss)
    assert scheduler.get_last_lr() == [0.4, 0.1]


def test_a_plateau_takes_a_tensor_and_nan_is_no_improvement():
    scheduler = ReduceLROnPlateau(one(), patience=0, factor=0.5)
    for loss in (tensor(2.0), math.nan, tensor(1.0)):
        scheduler.step(loss)
    assert (scheduler.best, scheduler.get_last_lr()) == (1.0, [0.25])


BAD_SCHEDULES = [
    (lambda o: StepLR(o, 0), ValueError, "StepLR: step_size must be at least 1, got 0"),
    (lambda o: StepLR(o, 1.5), TypeError, "StepLR: step_size must be an int, got 1.5"),
    (lambda o: StepLR(o, 1, math.nan), ValueError, "StepLR: gamma must be in .* got nan"),
    (lambda o: StepLR(o, 1, last_epoch=-2), ValueError, "StepLR: last_epoch must be at least -1, got -2"),
    (lambda o: StepLR(o, 1, last_epoch=3), ValueError, "StepLR: last_epoch=3 needs .* 'initial_lr'"),
    (lambda o: StepLR(o.param_groups, 1), TypeError, "StepLR: optimizer must be an Optimizer, got a list"),
    (lambda o: MultiStepLR(o, 3), TypeError, "MultiStepLR: milestones must be ints, got 3"),
    (lambda o: MultiStepLR(o, [-1]), ValueError, "MultiStepLR: a milestone must be at least 0, got -1"),
    (lambda o: LinearLR(o, 0.0), ValueError, "LinearLR: start_factor must be above 0 and at most 1, got 0.0"),
    (lambda o: LinearLR(o, 1.5), ValueError, "LinearLR: start_factor .* got 1.5"),
    (lambda o: LinearLR(o, 1, -1), ValueError, "LinearLR: end_factor must be from 0 to 1, got -1"),
    (lambda o: LinearLR(o, total_iters=0), ValueError, "LinearLR: total_iters must be at least 1, got 0"),
    (lambda o: PolynomialLR(o, 0), ValueError, "PolynomialLR: total_iters must be at least 1, got 0"),
    (lambda o: PolynomialLR(o, 5, -1), ValueError, r"PolynomialLR: power must be in \[0, inf\), got -1"),
    (lambda o: CosineAnnealingLR(o, 0), ValueError, "CosineAnnealingLR: T_max must be at least 1, got 0"),
    (
        lambda o: CosineAnnealingLR(o, 5, "0"),
        TypeError,
        "CosineAnnealingLR: eta_min must be a number, got '0'",
    ),
    (
        lambda o: LambdaLR(o, [abs, abs]),
        ValueError,
        "LambdaLR: lr_lambda must have one value a group, 1; got 2",
    ),
    (lambda o: LambdaLR(None, abs), TypeError, "LambdaLR: optimizer must be an Optimizer, got a NoneType"),
    (lambda o: ReduceLROnPlateau(o, "mix"), ValueError, "mode must be 'min' or 'max', got 'mix'"),
    (lambda o: ReduceLROnPlateau(o, threshold_mode="x"), ValueError, "threshold_mode must be 'rel' or 'abs'"),
    (lambda o: ReduceLROnPlateau(o, factor=1.0), ValueError, r"factor must be in \[0, 1\), got 1.0"),
    (lambda o: ReduceLROnPlateau(o, patience=-1), ValueError, "patience must be at least 0, got -1"),
    (lambda o: ReduceLROnPlateau(o, cooldown=0.5), TypeError, "cooldown must be an int, got 0.5"),
    (lambda o: ReduceLROnPlateau(o, threshold=-1), ValueError, "threshold must be in .* got -1"),
    (lambda o: ReduceLROnPlateau(o, eps=-1), ValueError, "eps must be in .* got -1"),
    (lambda o: ReduceLROnPlateau(o, min_lr=-1), ValueError, "min_lr must be in .* got -1"),
    (
        lambda o: ReduceLROnPlateau(o, min_lr=[0, 0]),
        ValueError,
        "min_lr must have one value a group, 1; got 2",
    ),
    (
        lambda o: ReduceLROnPlateau(3),
        TypeError,
        "ReduceLROnPlateau: optimizer must be an Optimizer, got a int",
    ),
]


@pytest.mark.parametrize(("make", "error", "message"), BAD_SCHEDULES)
def test_mistakes_in_schedules_are_named(make, error, message):
    optimizer = one()
    with pytest.raises(error, match=message):
        make(optimizer)
    assert optimizer.param_groups[0]["lr"] == 0.5


@pytest.mark.parametrize("make", [lambda o: StepLR(o, 1), ReduceLROnPlateau])
def test_a_schedule_notices_a_new_group(make):
    optimizer = one()
    scheduler = make(optimizer)
    optimizer.add_param_group({"params": parameter()})
    with pytest.raises(ValueError, match="must have one value a group, 2; got 1"):
        scheduler.step(*[1.0] * isinstance(scheduler, ReduceLROnPlateau))


def test_the_state_of_another_schedule_is_refused():
    scheduler = StepLR(one(), 3)
    before = scheduler.state_dict()
    two = StepLR(SGD([{"params": parameter()}, {"params": parameter()}]), 7)
    for state in (CosineAnnealingLR(one(), 5).state_dict(), {}, 3):
        with pytest.raises(ValueError, match=r"StepLR.load_state_dict: the state must hold \['_last_lr'"):
            scheduler.load_state_dict(state)
    with pytest.raises(ValueError, match="rates of 2 groups do not fit 1"):
        scheduler.load_state_dict(two.state_dict())
    assert scheduler.state_dict() == before


def test_the_state_of_a_schedule_is_a_copy():
    scheduler = MultiStepLR(one(), [3])
    scheduler.state_dict()["milestones"].append(5)
    assert scheduler.milestones == [3]
