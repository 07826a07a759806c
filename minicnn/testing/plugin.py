"""A pytest plugin: the checks as fixtures, all with the seed of the run.

Where minicnn is installed, pytest finds it by itself; elsewhere ``-p minicnn.testing.plugin`` loads it.  A test asks
for a check by its name, and calls it as ever::

    def test_swish(gradcheck):
        gradcheck(swish, np.linspace(-3, 3, 7))

===================  ==============================================================
``gradcheck``        :func:`minicnn.testing.gradcheck`
``check_properties`` :func:`minicnn.testing.check_properties`
``check_symmetry``   :func:`minicnn.testing.check_symmetry`
``gradcheck_seed``   the seed itself, for a test's own data
===================  ==============================================================

``--gradcheck-seed N`` sets the seed, 0 by default; ``--gradcheck-seed random`` draws one for this run.  pytest's header
says which it is, and a test that fails says how to run it again with the same one.
"""

from __future__ import annotations

import argparse
import os
import secrets
import shlex
from collections.abc import Callable, Generator
from functools import partial
from typing import Any

import pytest

from . import gradcheck as _gradcheck
from .properties import check_properties as _check_properties
from .symmetry import check_symmetry as _check_symmetry

_SEED = "gradcheck_seed"
_OPTION = "--gradcheck-seed"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option."""
    parser.getgroup("minicnn").addoption(
        _OPTION,
        dest=_SEED,
        default=0,
        type=_seed,
        metavar="N",
        help="seed of the gradient checks, 0 by default; 'random' draws one",
    )


def _seed(text: str) -> int:
    if text == "random":
        return secrets.randbelow(2**32)
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"the seed must be an int of at least 0, or 'random', got {text!r}")
    return int(text)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker of pytest-xdist the seed, of which it would draw its own."""
    node.workerinput[_SEED] = node.config.option.gradcheck_seed


def pytest_configure(config: pytest.Config) -> None:
    """Take the seed that a worker was told."""
    told = getattr(config, "workerinput", {})
    config.option.gradcheck_seed = told.get(_SEED, config.option.gradcheck_seed)


def pytest_report_header(config: pytest.Config) -> str:
    """Say the seed."""
    return f"minicnn: {_OPTION} {config.option.gradcheck_seed}"


@pytest.fixture(scope="session")
def gradcheck_seed(request: pytest.FixtureRequest) -> int:
    """Return the seed of the run."""
    return request.config.option.gradcheck_seed


@pytest.fixture(scope="session")
def gradcheck(gradcheck_seed: int) -> Callable[..., Any]:
    """minicnn.testing.gradcheck with the seed of the run."""
    return partial(_gradcheck, seed=gradcheck_seed)


@pytest.fixture(scope="session")
def check_properties(gradcheck_seed: int) -> Callable[..., Any]:
    """minicnn.testing.check_properties with the seed of the run."""
    return partial(_check_properties, seed=gradcheck_seed)


@pytest.fixture(scope="session")
def check_symmetry(gradcheck_seed: int) -> Callable[..., Any]:
    """minicnn.testing.check_symmetry with the seed of the run."""
    return partial(_check_symmetry, seed=gradcheck_seed)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show below a failure of a test that uses the seed how to repeat it."""
    report = yield
    if report.failed and _SEED in getattr(item, "fixturenames", ()):
        config = item.config
        named = "" if _is_installed(config.pluginmanager) else f"-p {__name__} "
        file = os.path.relpath(item.path, config.invocation_params.dir)  # a node's id begins at pytest's root
        test = file + "".join(item.nodeid.partition("::")[1:])
        again = f"pytest {named}{shlex.quote(test)} {_OPTION} {config.option.gradcheck_seed}"
        report.sections.append(("this fails again with", again))
    return report


def _is_installed(plugins: pytest.PytestPluginManager) -> bool:
    """Whether pytest has found this plugin by its entry point, and will again."""
    this = plugins.get_plugin(__name__)
    return any(plugin is this for plugin, _ in plugins.list_plugin_distinfo())
