"""The pytest plugin, in runs of pytest on small test files: in a checkout, and found by its entry point."""

import re
import tomllib
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest

from minicnn.testing import plugin

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parents[1]
PLUGIN = "minicnn.testing.plugin"
# In a checkout that is not installed pytest has to be told of the plugin, and what it prints says so.
INSTALLED = any(point.value == PLUGIN for point in metadata.entry_points(group="pytest11"))
PYTEST = "pytest" if INSTALLED else f"pytest -p {PLUGIN}"

DOUBLE = """
import numpy as np
from minicnn import Function

class Double(Function):
    def forward(self, x):
        return 2 * x
    def backward(self, g):
        return {factor} * g

def double(x):
    return Double()(x)

def test_double(gradcheck):
    gradcheck(double, np.ones(3))
"""
RIGHT, WRONG = DOUBLE.format(factor=2), DOUBLE.format(factor=3)


@pytest.fixture
def run(pytester, monkeypatch):
    """Run pytest on a test file, as a process of its own, where warnings are errors."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    pytester.makeini("[pytest]\nfilterwarnings = error\n")

    def run(source, *options, loaded=True):
        pytester.makepyfile(test_it=source)
        return pytester.runpytest_subprocess(
            "-p", "no:cacheprovider", *(("-p", PLUGIN) if loaded else ()), *options
        )

    return run


def seed_of(result):
    """The seed that the header says."""
    return int(re.search(r"^minicnn: --gradcheck-seed (\d+)$", result.stdout.str(), re.M)[1])


def test_a_right_gradient_passes_and_a_wrong_one_says_how_to_repeat_it(run):
    result = run(RIGHT, "-rA")
    result.assert_outcomes(passed=1)
    assert seed_of(result) == 0
    assert "this fails again with" not in result.stdout.str()

    result = run(WRONG, "--gradcheck-seed", "17")
    result.assert_outcomes(failed=1)
    assert seed_of(result) == 17
    result.stdout.fnmatch_lines(
        [
            "E*GradcheckError: gradcheck: wrong gradient for input 0 (seed 17, *",
            "*- this fails again with -*",
            f"{PYTEST} test_it.py::test_double --gradcheck-seed 17",
        ]
    )


def test_a_drawn_seed_is_said_and_repeats_the_run(run):
    source = """
        import pytest
        @pytest.mark.parametrize("name", ["a b"])
        def test_seed(gradcheck_seed, gradcheck, check_properties, check_symmetry, name):
            seeds = {f.keywords["seed"] for f in (gradcheck, check_properties, check_symmetry)}
            assert seeds == {gradcheck_seed}
            print("got", gradcheck_seed)
            assert not gradcheck_seed
    """
    first, second = (run(source, "--gradcheck-seed", "random") for _ in range(2))
    seed = seed_of(first)
    assert seed != seed_of(second)
    first.stdout.fnmatch_lines(
        [f"got {seed}", f"{PYTEST} 'test_it.py::test_seed[[]a b]' --gradcheck-seed {seed}"]
    )
    run(source).assert_outcomes(passed=1)


def test_the_checks_are_the_packages_own(run):
    run(
        """
        import numpy as np
        import pytest
        from minicnn import functional as F, testing

        def test_checks(gradcheck, check_properties, check_symmetry):
            x = np.linspace(-2, 2, 7)
            assert gradcheck(F.tanh, x) == testing.gradcheck(F.tanh, x, seed=5)
            assert gradcheck(F.tanh, x, seed=1) == testing.gradcheck(F.tanh, x, seed=1)
            assert check_symmetry(F.tanh, x) == testing.check_symmetry(F.tanh, x, seed=5)
            assert check_properties(F.tanh, [x]) is None
            with pytest.raises(AssertionError):
                check_properties(F.tanh, [x], linear=[0])
        """,
        "--gradcheck-seed=5",
    ).assert_outcomes(passed=1)


def test_a_failure_that_has_nothing_to_do_with_it_is_left_alone(run):
    result = run("def test_it(tmp_path):\n    assert False\n")
    result.assert_outcomes(failed=1)
    assert "this fails again with" not in result.stdout.str()


def test_a_seed_that_is_none(run):
    result = run(RIGHT, "--gradcheck-seed=-1")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*the seed must be an int of at least 0, or 'random', got '-1'"])


def test_workers_are_told_the_seed():
    """As pytest-xdist does it, where a worker would draw its own."""
    told = {}
    controller = SimpleNamespace(option=SimpleNamespace(gradcheck_seed=7))
    plugin.pytest_configure_node(SimpleNamespace(workerinput=told, config=controller))
    worker = SimpleNamespace(workerinput=told, option=SimpleNamespace(gradcheck_seed=99))
    plugin.pytest_configure(worker)
    assert worker.option.gradcheck_seed == 7


def test_it_works_without_hypothesis(run, pytester):
    pytester.makepyfile(hypothesis="raise ImportError('not here')")
    without = (
        "import pytest\ndef test_it():\n    with pytest.raises(ImportError):\n        import hypothesis\n"
    )
    run(without + RIGHT, "-p", "no:hypothesispytest").assert_outcomes(passed=2)


def entry_points():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["pytest11"]


@pytest.mark.parametrize("loaded", [False, True], ids=["found", "found and named"])
def test_an_installed_one_is_found_and_may_be_named_too(run, pytester, monkeypatch, loaded):
    """The entry point has the module's name: so pytest knows that it is one plugin, not two."""
    assert entry_points() == {PLUGIN: PLUGIN}
    info = pytester.mkdir("site") / "minicnn-0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: minicnn\nVersion: 0\n")
    (info / "entry_points.txt").write_text(
        "\n".join(["[pytest11]", *(f"{name} = {module}" for name, module in entry_points().items())])
    )
    monkeypatch.setenv("PYTHONPATH", f"{info.parent}:{ROOT}")
    result = run(WRONG, loaded=loaded)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["pytest test_it.py::test_double --gradcheck-seed 0"])


def test_the_command_is_for_the_directory_that_pytest_ran_in(run, pytester, monkeypatch):
    below = pytester.mkdir("below")
    pytester.makepyfile(**{"below/test_there": WRONG})
    monkeypatch.chdir(below)
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "-p", PLUGIN, "test_there.py")
    result.stdout.fnmatch_lines([f"{PYTEST} test_there.py::test_double --gradcheck-seed 0"])
