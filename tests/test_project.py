"""The project as a whole: style, types, layers, examples, the README, and the wheel that users install."""

import importlib.util
import os
import re
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def run(*command, cwd=ROOT, **environment):
    """Run a command and show what it printed if it fails."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def tool(name):
    """The console script of the interpreter that runs the tests."""
    return Path(sys.executable).with_name(name)


@pytest.mark.parametrize(
    "command",
    [
        ("ruff", "check", "."),
        ("ruff", "format", "--check", "."),
        ("basedpyright", "--pythonpath", sys.executable),
        ("lint-imports",),
    ],
    ids=lambda command: " ".join(command[:2]),
)
def test_style_types_and_layers(command):
    name, *arguments = command
    run(tool(name), *arguments)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_runs(path, tmp_path):
    run(sys.executable, "-W", "error", path, "--smoke", cwd=tmp_path)


def test_there_are_the_examples():
    assert [path.stem for path in EXAMPLES] == [
        "edge_detector",
        "lenet5_from_scratch",
        "look_inside",
        "swish",
    ]


def quick_start():
    section = re.search(r"^## Quick start\n(.*?)(?=^## )", (ROOT / "README.md").read_text(), re.S | re.M)
    assert section, "the README has no Quick start section"
    return re.findall(r"^```sh\n(.*?)^```", section[1], re.S | re.M)


def test_quick_start_has_the_two_commands():
    install, test = quick_start()[:2]
    for block in (install, test):
        assert "python3 -m venv" in block
        assert "pip install" in block
    assert "minicnn train lenet5" in install
    assert "pytest" in test


def test_ci_runs_the_readme_test_command():
    assert "README.md" in (ROOT / ".ci" / "run").read_text()


def test_the_pages_figures_are_those_of_the_records():
    spec = importlib.util.spec_from_file_location("readme", ROOT / "benchmarks" / "readme.py")
    readme = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(readme)
    for page in readme.PAGES:
        assert readme.filled(page) == (ROOT / page).read_text(), "run: python benchmarks/readme.py"


def test_the_readmes_python_runs():
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.S | re.M)
    assert blocks
    for block in blocks:
        run(sys.executable, "-W", "error", "-c", block)


def test_readme_tables_name_what_there_is():
    """The modules of the one table can be imported, and the calls of the other build networks."""
    text = (ROOT / "README.md").read_text()
    modules = re.findall(r"^\| `minicnn\.(\w+)`", text, re.M)
    rows = re.findall(r"^\|[^|]*\|[^|]*\|([^|]*`[^|]*)\|$", text[text.index("## The networks") :], re.M)
    calls, name = [], ""
    for code in (code for row in rows for code in re.findall(r"`(\w*\(.*?\))`", row)):
        name = code[: code.index("(")] or name  # ("single") stands for another variant of the call before
        calls.append(f"models.{name}{code[code.index('(') :]}")
    assert len(modules) >= 6
    assert len(calls) >= 20
    imports = [f"import minicnn.{module}" for module in modules]
    build = ["from minicnn import models", "with minicnn.device('meta'):", *(f"    {call}" for call in calls)]
    run(sys.executable, "-c", "\n".join([*imports, *build]))


def test_import_is_light():
    """No plotting, downloading or picture library comes with `import minicnn`."""
    heavy = ["matplotlib", "PIL", "rich", "pooch", "safetensors", "hypothesis", "torch", "cupy"]
    code = f"import sys, minicnn; print([m for m in {heavy} if m in sys.modules])"
    assert run(sys.executable, "-c", code).strip() == "[]"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel as it is built for users, by the build backend of pyproject.toml."""
    out = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, ROOT)
    (path,) = out.glob("*.whl")
    return path


def test_wheel_carries_what_it_must(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    for needed in (
        "minicnn/py.typed",
        "minicnn/kernels/README.md",
        "minicnn/data/mnist5k.npz",
        "minicnn/data/imagenet.txt",
    ):
        assert needed in names
    for licence in ("mnist5k.LICENSE", "imagenet.LICENSE"):
        assert any(name.endswith(f".dist-info/licenses/minicnn/data/{licence}") for name in names)
    outside = {n.split("/")[0] for n in names} - {"minicnn"}
    assert all(n.endswith(".dist-info") for n in outside)
    assert wheel.stat().st_size < 3 << 20


STEP = """
import pathlib
import minicnn
from minicnn import data, models, optim, training
from minicnn.backend.kernels import folder
assert "site-packages" in minicnn.__file__, minicnn.__file__
assert folder().parent == pathlib.Path(minicnn.__file__).parent, folder()
minicnn.manual_seed(0)
train, _ = data.load("mnist5k")
model = models.lenet5()
transform = training.prepare(model, train)
images, labels = next(iter(data.DataLoader(train, 32, shuffle=True, transform=transform)))
optimizer = optim.SGD(model.parameters(), lr=0.05)
losses = []
for _ in range(2):
    loss = model.loss(model(images), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    losses.append(loss.item())
assert losses[1] < losses[0], losses
"""


def test_wheel_works_in_a_clean_environment(wheel, tmp_path):
    venv.create(tmp_path / "clean", with_pip=True)
    python = tmp_path / "clean" / "bin" / "python"
    run(python, "-m", "pip", "install", "-q", "--disable-pip-version-check", wheel)
    run(python, "-I", "-W", "error", "-c", STEP, cwd=tmp_path)
    assert "minicnn" in run(tmp_path / "clean" / "bin" / "minicnn", "--version", cwd=tmp_path)


def test_no_tracked_file_is_large():
    files = run("git", "ls-files").split()
    assert [name for name in files if (ROOT / name).stat().st_size > 1_200_000] == []
