"""The mutants themselves: each operator makes its mistake, and each way a mutant can end is told apart."""

import ast
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from emulated import needs_compiler

from minicnn.testing.mutants import OPERATORS, Outcome, Settings, campaign, mutants_of
from minicnn.testing.mutants.__main__ import main
from minicnn.testing.mutants.equivalents import load_equivalents, stale
from minicnn.testing.mutants.sites import functions
from minicnn.testing.mutants.target import Targets

ROOT = Path(__file__).parents[1]
OPS = [path for path in (ROOT / "minicnn" / "ops").glob("*.py") if "(Function" in path.read_text()]
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="each mutant runs in a forked process")


def plain(line):
    """A line of Python without parentheses that it does not need."""
    return ast.unparse(ast.parse(line.strip()))


def changes(body, operator, name="f", arguments="self, x, g, n", before=""):
    """What an operator makes of a function's body, as the changed lines."""
    source = f"{before}def {name}({arguments}):\n" + "\n".join(f"    {line}" for line in body.split("\n"))
    found = []
    for mutant in mutants_of(source, "m.py"):
        if mutant.operator == operator:
            pairs = zip(source.split("\n"), mutant.source.split("\n"), strict=True)
            found += [plain(new) for old, new in pairs if old != new]
    return found


@pytest.mark.parametrize(
    ("operator", "body", "expected"),
    [
        ("flip a sign", "return x - g", ["return (x + g)"]),
        ("flip a sign", "return -g", ["return g"]),
        ("flip a sign", "x += g\nreturn x", ["x -= g"]),
        ("divide for multiply", "return x * g", ["return (x / g)"]),
        ("divide for multiply", "x /= g\nreturn x", ["x *= g"]),
        ("drop a term", "return x - g", ["return x", "return (-g)"]),
        ("drop a term", "return x + g", ["return x", "return g"]),
        ("drop a factor", "return x * g", ["return x", "return g"]),
        ("drop a factor", "return x / g", ["return x", "return (1 / g)"]),
        ("drop a factor", "return x**n", ["return x"]),
        (
            "drop a condition",
            "return x and g and n",
            ["return (g and n)", "return (x and n)", "return (x and g)"],
        ),
        ("drop a condition", "return (x > 0) & (g > 0)", ["return x > 0", "return g > 0"]),
        ("drop a step", "x += g\nreturn x", ["pass"]),
        ("drop a step", "x[0] = g\nreturn x", ["pass"]),
        ("drop a step", "copyto(x, g)\nreturn x", ["pass"]),
        ("round up", "return x // n", ["return (-(-x // n))"]),
        ("other reduction", "return x.sum(axis=0)", ["return x.mean(axis=0)"]),
        ("other reduction", "return max(x, g)", ["return min(x, g)"]),
        ("other reduction", "return be.maximum(x, g)", ["return be.minimum(x, g)"]),
        ("unbiased for biased", "return x / n", ["return x / (n - 1)"]),
        ("swap axes", "return x.sum(axis=0)", ["return x.sum(axis=1)"]),
        (
            "swap axes",
            "return x.transpose(0, 2, 1)",
            ["return x.transpose(2, 0, 1)", "return x.transpose(0, 1, 2)"],
        ),
        ("swap axes", "p, q = x\nreturn p", ["(q, p) = x"]),
        ("transpose omitted", "return x.T @ g", ["return x @ g"]),
        ("transpose omitted", "return x.reshape(n, -1)", ["return x"]),
        ("transpose omitted", "return np.swapaxes(x, 0, 1)", ["return x"]),
        ("transpose omitted", "return x.copy()", ["return x"]),
        ("counterpart", "before, after = n\nreturn x[before:]", ["return x[after:]"]),
        ("counterpart", "return x[n.start]", ["return x[n.stop]"]),
        ("off by one", "return x[1:]", ["return x[2:]", "return x[0:]"]),
        ("off by one", "return x[:n]", ["return x[:(n + 1)]", "return x[:(n - 1)]"]),
        ("off by one", "return range(n)", ["return range((n + 1))", "return range((n - 1))"]),
        ("off by one", "return x[slice(*n)]", []),
        ("other comparison", "return x > 0", ["return x >= 0"]),
        ("other comparison", "return 0 <= x < n", ["return (0 < x < n)", "return (0 <= x <= n)"]),
        ("other comparison", "return x == n", ["return (x != n)"]),
        ("negate a condition", "return x if n else g", ["return x if (not n) else g"]),
        ("flip a flag", "return x.sum(keepdims=True)", ["return x.sum(keepdims=False)"]),
        ("groups forgotten", "return x // self.groups", ["return x // 1"]),
        ("other filling", "return full(n, be.lowest(x))", ["return full(n, 0)"]),
        ("other filling", "return [-inf, -np.inf]", ["return [-inf, -0]"]),
        ("other filling", "return np.zeros(n)", ["return (np.zeros(n) + 1)"]),
        ("scale a result", "return x + g", ["return (x + g) * 1.01"]),
        ("scale a result", "x[0] = g\nreturn 0", ["x[0] = (None if g is None else g * 1.01)"]),
    ],
)
def test_operator(operator, body, expected):
    assert changes(body, operator) == [plain(line) for line in expected]


def test_gradients_are_zeroed_one_at_a_time_and_in_backward_only():
    body = "return x * g, None if n else n * g"
    assert changes(body, "zero a gradient") == []
    assert changes(body, "zero a gradient", name="backward") == [
        "return (x * g * 0, None if n else n * g)",
        "return (x * g, None if n else n * g * 0)",
    ]


def test_another_saved_array_of_the_class():
    source = """class Tanh:
    def forward(self, x):
        self.x, self.y = x, tanh(x)
        return self.y
    def backward(self, g):
        return g * self.y
"""
    mutants = [mutant for mutant in mutants_of(source, "m.py") if mutant.operator == "other saved array"]
    assert [mutant.source.split("\n")[-2].strip() for mutant in mutants] == ["return g * self.x"]


def test_every_operator_is_tested():
    marks = test_operator.pytestmark[0].args[1]
    assert {operator for operator, _, _ in marks} | {"zero a gradient", "other saved array"} == set(OPERATORS)


@pytest.mark.parametrize(
    "source",
    [
        "def f(x):\n    if x > 1:\n        raise ValueError(x - 1)",
        "def f(x):\n    assert x - 1",
        "def f(x):\n    '''x - 1'''",
        "def f(x: 2 - 1 = 1 - 2) -> 3 - 1:\n    return x",
        "def f(x):\n    size = x + 1\n    if size > 3:\n        raise ValueError\n    return x",
        "def f(x):\n    check_shape(x[1:])\n    return x",
        "def f(x):\n    for i in range(3):\n        if i > x:\n            raise ValueError\n    return x",
        "def f(x):\n    return f'{x - 1}'",
        "def f(x) -> str:\n    return x - 1",
    ],
)
def test_what_only_checks_is_left_alone(source):
    assert [m.id for m in mutants_of(source, "m.py") if m.operator != "scale a result"] == []


def test_mutants_that_do_the_same_are_dropped():
    assert changes("return x.sum(axis=0)", "off by one") == []  # swap axes has made axis=1 of it already
    assert changes("return x * 1 ** 1", "drop a factor") == [
        "return x",
        "return 1 ** 1",
    ]  # 1 ** 1 is folded to 1


def test_ids_do_not_depend_on_the_line_and_differ():
    source = "def f(x):\n    y = x - 1\n    return y * (x - 1) * (x - 1)\n"
    ids = [mutant.id for mutant in mutants_of(source, "m.py")]
    assert len(set(ids)) == len(ids)
    assert "m.py:f flip a sign: x - 1 -> x + 1 in y = x - 1" in ids
    assert "m.py:f flip a sign: x - 1 -> x + 1 in return y * (x - 1) * (x - 1) #2" in ids
    assert ids == [mutant.id for mutant in mutants_of(f"# a line more\n\n{source}", "m.py")]


def test_a_diff_shows_the_change_beside_letters_that_take_several_bytes():
    (mutant,) = [m for m in mutants_of("def f(x):\n    σ = 'é'; return -x", "m.py") if "sign" in m.id]
    assert mutant.diff().splitlines()[-2:] == ["-    σ = 'é'; return -x", "+    σ = 'é'; return x"]


def test_a_number_may_stand_before_a_dot():
    (mutant,) = [
        m for m in mutants_of("def f(groups):\n    return groups.real", "m.py") if "groups" in m.operator
    ]
    assert mutant.source == "def f(groups):\n    return (1).real"


TOY = """
import os, time
from contextlib import contextmanager

class Toy:
    def __init__(self): self.n = 3
    @property
    def size(self): return self.n + 2
    @size.setter
    def size(self, value): self.n = value - 2
    @contextmanager
    def inside(self):
        self.n -= 1
        yield
    @classmethod
    def made(cls): return cls().n * 2

def unseen(x): return x + 5

def slow(x):
    while x > 0:
        x -= 1
    return 7

def dangerous(x):
    if x > 0:
        os.kill(os.getpid(), 9)

def greedy(x):
    return bytearray(10 ** x)

def outer(x):
    def inner(): return x - 1
    return inner()
"""
SUITE = """
import toy
def checks():
    return [
        ("size", size), ("inside", inside), ("made", made), ("slow", slow), ("dangerous", dangerous),
        ("greedy", greedy), ("outer", outer), ("unseen", unseen), ("no checks", lambda: None),
    ]
def size():
    t = toy.Toy()
    assert t.size == 5
    t.size = 7
    assert t.size == 7
def inside():
    t = toy.Toy()
    with t.inside(): assert t.n == 2
def made(): assert toy.Toy.made() == 6
def slow(): assert toy.slow(4) == 7
def dangerous(): toy.dangerous(0)
def greedy(): assert len(toy.greedy(1)) == 10
def outer(): assert toy.outer(3) == 2
def unseen(): toy.unseen(1)
"""


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A module, a suite and the settings for them, in a folder of its own."""
    (tmp_path / "toy.py").write_text(TOY)
    (tmp_path / "toy_suite.py").write_text(SUITE)
    (tmp_path / "equivalent.toml").write_text("")
    (tmp_path / "pyproject.toml").write_text(
        '[tool.minicnn.mutants]\ntargets = ["toy.py"]\nsuite = "toy_suite.py:checks"\nequivalents = "equivalent.toml"\n'
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    for name in ("toy", "toy_suite"):
        sys.modules.pop(name, None)


@needs_fork
def test_how_mutants_end(toy, monkeypatch):
    monkeypatch.setattr("minicnn.testing.mutants.runner._LEAST_SECONDS", 0.5)
    report = campaign(Settings.of([], None), jobs=2)
    ends = {row.mutant.id.removeprefix("toy.py:"): row.killer for row in report.outcomes}
    assert ends["Toy.size flip a sign: self.n + 2 -> self.n - 2 in return self.n + 2"] == "size"
    assert ends["Toy.size flip a sign: value - 2 -> value + 2 in self.n = value - 2"] == "size"
    assert ends["Toy.inside drop a step: self.n -= 1 -> nothing"] == "inside"
    assert ends["Toy.made drop a factor: cls().n * 2 -> 2 in return cls().n * 2"] == "made"
    assert ends["outer flip a sign: x - 1 -> x + 1 in return x - 1"] == "outer"
    assert ends["slow drop a step: x -= 1 -> nothing"] == "time limit"
    assert ends["dangerous other comparison: x > 0 -> x >= 0 in if x > 0:"] == "crash"
    assert ends["unseen flip a sign: x + 5 -> x - 5 in return x + 5"] is None
    assert all((row.killer is None) == (row in report.survivors) for row in report.outcomes)
    assert not report.ok


@needs_fork
def test_the_command(toy, capsys, monkeypatch):
    monkeypatch.setattr("minicnn.testing.mutants.runner._LEAST_SECONDS", 0.5)
    assert main(["--list"]) == 0
    ids = capsys.readouterr().out.splitlines()
    assert main(["--show", "Toy.size flip"]) == 0
    assert "+    def size(self): return (self.n - 2)" in capsys.readouterr().out
    assert main(["--json", "out.json"]) == 1
    out = capsys.readouterr().out
    figures = json.loads((toy / "out.json").read_text())
    assert figures["mutants"] == len(ids) == figures["killed"] + figures["survived"]
    assert all(name in " ".join(out.split()) for name in figures["survivors"])
    listed = [f'"{name.removeprefix("toy.py:")}" = "a toy"' for name in figures["survivors"]]
    (toy / "equivalent.toml").write_text("\n".join(['["toy.py"]', *listed]))
    assert main(["--json", "out.json"]) == 0
    assert json.loads((toy / "out.json").read_text())["equivalent"] == len(listed)


def test_what_is_excluded_is_left_alone(toy, capsys):
    def mutated():
        assert main(["--list"]) == 0
        return {
            line.removeprefix("toy.py:").partition(" ")[0] for line in capsys.readouterr().out.splitlines()
        }

    assert {"slow", "Toy.size", "Toy.made"} <= (before := mutated())
    with (toy / "pyproject.toml").open("a") as file:
        file.write('exclude = ["slow", "size"]\n')
    assert before - mutated() == {"slow", "Toy.size"}


@needs_fork
def test_a_check_that_fails_with_nothing_mutated_is_named(toy, capsys):
    (toy / "toy_suite.py").write_text("def checks(): return [('broken', lambda: 1 / 0)]")
    assert main([]) == 2
    assert "the check 'broken' fails with nothing mutated: division by zero" in capsys.readouterr().err


def test_mistakes_are_told(toy, capsys):
    for arguments, message in (
        (["nothing.py"], "a target must be a Python file or a folder with some, got nothing.py"),
        (["toy.py", "--suite", "toy_suite:none"], "the suite toy_suite has no function 'none'"),
        (
            ["toy.py", "--suite", "toy_suite.py"],
            "must be MODULE:FUNCTION or FILE.py:FUNCTION, got 'toy_suite.py'",
        ),
        (["--show", "no such"], "no mutant's id contains 'no such'"),
    ):
        assert main(arguments) == 2
        assert message in capsys.readouterr().err
    (toy / "pyproject.toml").write_text("")
    assert main([]) == 2
    assert "mutants: name targets, or put targets into" in capsys.readouterr().err
    assert main(["toy.py"]) == 2
    assert "must be MODULE:FUNCTION or FILE.py:FUNCTION, got ''" in capsys.readouterr().err


def test_entries_of_the_list_that_are_wrong():
    mutants = mutants_of("def f(x):\n    return x - 1", "m.py")
    killed = Outcome(mutants[0], "a check", 1)
    equivalents = {
        "m.py:f nothing": "gone",
        mutants[0].id: "not so",
        mutants[1].id: "right",
        "n.py:f": "not run",
    }
    assert stale(equivalents, mutants, [killed, Outcome(mutants[1], None, 1)]) == {
        "m.py:f nothing": "there is no such mutant",
        mutants[0].id: "killed by a check",
    }


def test_an_equivalent_has_a_file_and_a_reason(tmp_path):
    file = tmp_path / "list.toml"
    file.write_text('["m.py"]\n"f change" = "because"\n')
    assert load_equivalents(file) == {"m.py:f change": "because"}
    file.write_text('["m.py"]\n"f change" = ""\n')
    with pytest.raises(ValueError, match="'f change' must have a reason, got ''"):
        load_equivalents(file)
    file.write_text('"m.py:f change" = "because"\n')
    with pytest.raises(ValueError, match=r"'m\.py:f change' must stand in the table of a file"):
        load_equivalents(file)


# minicnn's own mutants


@pytest.fixture(scope="module")
def own():
    """The settings of this project, and its targets."""
    settings = Settings.of([], None, ROOT)
    return settings, Targets.of(settings.targets, settings.exclude)


def test_the_list_of_equivalents_is_of_mutants_there_are_and_short(own):
    settings, targets = own
    assert stale(settings.equivalents, targets.mutants, []) == {}
    assert len(targets.mutants) >= 400
    assert len(settings.equivalents) < 0.05 * len(targets.mutants)


def test_every_forward_and_backward_is_mutated(own):
    """But for those with nothing to get wrong: no operator finds a place in them."""
    _, targets = own
    mutated = {(mutant.file, mutant.function) for mutant in targets.mutants}
    passes = {
        (file, name)
        for file, source in targets.sources.items()
        for name, _, _ in functions(ast.parse(source))
        if name.rpartition(".")[2] in ("forward", "backward", "backward_data", "backward_weight")
    }
    assert {file for file, _ in passes} >= {f"minicnn/ops/{path.name}" for path in OPS}
    assert passes - mutated == set()


def test_what_is_excluded_is_there_and_no_pass(own):
    """A name that is gone, or a pass that has got one of the names, would not be missed otherwise."""
    settings, targets = own
    named = {
        (file, name.rpartition(".")[2])
        for file, source in targets.sources.items()
        for name, _, _ in functions(ast.parse(source))
    }
    left = {(file, name) for file, name in named if name in settings.exclude}
    assert {name for _, name in left} == settings.exclude
    assert all(file.startswith("minicnn/conv/") for file, _ in left)


@needs_fork
@needs_compiler  # for those of what only a GPU does
def test_a_sample_of_the_mutants_is_killed():
    """Which ones depends on the text of the package and of the tests: with each change another 40."""
    texts = sorted([*ROOT.glob("minicnn/**/*.py"), *ROOT.glob("tests/*.py")])
    seed = int(hashlib.sha256(b"".join(path.read_bytes() for path in texts)).hexdigest()[:8], 16)
    command = [sys.executable, "-m", "minicnn.testing.mutants", "--sample", "40", "--seed", str(seed)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, f"{' '.join(command[1:])}\n{done.stdout}\n{done.stderr}"
