"""The pages of docs/: their examples run, in order, and print what the page says."""

import doctest
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted(  # design notes are a record, and stay as they were
    page for folder in (".", "convolution_on_the_gpu") for page in (ROOT / "docs" / folder).glob("*.md")
)
NUMBER = re.compile(r"-?\d+\.\d+(?:e[+-]\d+)?")


class Checker(doctest.OutputChecker):
    """Takes numbers that differ in a last digit: the page was printed on another machine."""

    def check_output(self, want, got, flags):
        numbers = zip(NUMBER.findall(want), NUMBER.findall(got), strict=False)
        close = all(math.isclose(float(a), float(b), rel_tol=1e-6) for a, b in numbers if "e-" not in a)
        return close and super().check_output(NUMBER.sub("#", want), NUMBER.sub("#", got), flags)


def failures(text, name):
    """Run the examples of a page; return what went wrong, as a text."""
    # Without its fences, and with as many lines: for a fence would pass for output.
    examples = re.sub(r"^```.*$", "", text, flags=re.M)
    test = doctest.DocTestParser().get_doctest(examples, {"__name__": "__main__"}, name, name, 0)
    runner = doctest.DocTestRunner(Checker(), optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    told = []
    runner.run(test, out=told.append)
    return "".join(told)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_examples_print_what_the_page_says(path, request):
    text = path.read_text(encoding="utf-8")
    if '"cuda"' in text:
        request.getfixturevalue("cuda")
    told = failures(text, path.name)
    assert not told, told


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_links_lead_somewhere(path):
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" not in target:
            file, _, section = target.partition("#")
            linked = path.parent / file if file else path
            assert linked.exists(), target
            assert not section or section in sections(linked), target


def sections(path):
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(
    ("page", "fails"),
    [
        ("```pycon\n>>> 1 / 3\n0.33333333332\n```\n", False),
        ("```pycon\n>>> 1 / 3\n0.3334\n```\n", True),
        ("```pycon\n>>> 'a', 0.5\n('b', 0.5)\n```\n", True),
        ("```pycon\n>>> 1 / 0\n```\n", True),
        ("```pycon\n>>> print('1.5e-07 x')\n2.1e-07 x\n```\n", False),
    ],
)
def test_a_page_that_says_something_else_fails(page, fails):
    assert bool(failures(page, "page.md")) == fails


def test_the_test_file_of_your_own_layer_passes(tmp_path):
    page = (ROOT / "docs" / "your_own_layer.md").read_text(encoding="utf-8")
    (source,) = re.findall(r"^```python\n(.*?)^```", page, re.S | re.M)
    path = tmp_path / "test_swish.py"
    path.write_text(source, encoding="utf-8")
    found = os.pathsep.join(map(str, (ROOT, ROOT / "examples")))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "pytest", "-p", "minicnn.testing.plugin", path],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": found},
        capture_output=True,
        text=True,
    )
    assert re.search(r"^=+ 4 passed in", done.stdout, re.M), done.stdout + done.stderr
