"""The ladder of convolution on the emulator: every version and instance against double precision, in every mode."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from cuda_convolutions import AMPLIFYING, BFLOAT16, CASES, answers, draw, hold, only, to_tf32
from emulated import MODES, launcher, needs_compiler, poisoned

from minicnn.backend.cuda_source import source
from minicnn.backend.ladder import conv2d
from minicnn.backend.ladder.conv2d_forward import LADDER, conv2d_forward
from minicnn.geometry import Window2d

pytestmark = needs_compiler

VERSIONS = LADDER["conv2d_forward"]
TYPES = {
    "v8": [np.dtype(np.float16), BFLOAT16],
    **{f"v{n}": [np.dtype(np.float32), np.dtype(np.float64)] for n in (1, 2, 3, 4)},
}
INSTANCES = [i for kernel in source("conv2d_forward").kernels for i in conv2d.instances(kernel)]


def types(version):
    return TYPES.get(version, [np.dtype(np.float32)])


def check(on, case, version, dtype, relu=False, bias=True):
    """Hold one version to what double precision makes of the same numbers."""
    arrays = draw(case, dtype)
    b = arrays.b if bias else None
    y = conv2d_forward(on, arrays.x, arrays.w, b, window=case.window, groups=case.groups, relu=relu, version=version)
    x, w = (to_tf32(a) if version == "v7" else a for a in (arrays.x, arrays.w))
    added = arrays.b.astype(float) if bias else 0.0
    exact = answers(case, x, w, arrays.g).y + added
    magnitude = answers(case, np.abs(x), np.abs(w), arrays.g).y + np.abs(added)
    assert y.dtype == dtype
    hold(y, np.maximum(exact, 0) if relu else exact, magnitude, arrays.w[0].size)


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("version", VERSIONS)
def test_every_version_on_every_case(version, case):
    for dtype in types(version):
        check(launcher(), case, version, dtype)


@pytest.mark.parametrize("version", VERSIONS)
def test_without_bias_and_with_relu(version):
    case = next(case for case in CASES if case.name == "groups_of_odd_sizes")
    for dtype in types(version):
        check(launcher(), case, version, dtype, bias=False)
        check(launcher(), case, version, dtype, relu=True)
        check(launcher(), case, version, dtype, relu=True, bias=False)


@pytest.mark.parametrize(
    "instance", INSTANCES, ids=lambda i: f"{i.kernel[15:]}-{i.element}-{i.index}-{'-'.join(map(str, i.template.values()))}"
)
def test_every_instance(instance, monkeypatch):
    """On all cases it is made for; each is made for some."""
    only(monkeypatch, instance)
    version, dtype = instance.kernel[-2:], np.dtype(dict(zip(("float", "double", "__half", "__nv_bfloat16"), (np.float32, np.float64, np.float16, BFLOAT16)))[instance.element])
    done = 0
    for case in CASES:
        try:
            check(launcher(), case, version, dtype)
        except ValueError as error:
            assert "is not made for" in str(error)
            continue
        done += 1
    assert done > 3


@pytest.mark.parametrize("mode", MODES, ids=str)
@pytest.mark.parametrize("version", VERSIONS)
def test_every_mode(version, mode):
    for case in AMPLIFYING:
        check(launcher(**vars(mode)), case, version, types(version)[0], relu=True)
