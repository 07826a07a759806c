"""The rates of the cost model: measured once, kept, read again, made anew when they do not belong here."""

import json
import os
import stat
import warnings

import numpy as np
import pytest

from minicnn import conv
from minicnn.conv import model
from minicnn.conv import rates as kept
from minicnn.conv.choice import fastest
from minicnn.conv.model import DEFAULT, Rates, seconds, shared_counts
from minicnn.conv.problem import Problem
from minicnn.conv.work import Pass, Product, Work
from minicnn.geometry import Window2d

MEASURED = DEFAULT._replace(call=1e-3)


@pytest.fixture
def file(tmp_path, monkeypatch):
    """A file for the rates that is not there yet; measuring takes no time and gives MEASURED."""
    path = tmp_path / "cache" / "rates.json"
    monkeypatch.setenv("MINICNN_RATES", str(path))
    monkeypatch.setattr(kept, "_known", {})
    monkeypatch.setattr(kept, "_measured", lambda: MEASURED)
    return path


def read_again(monkeypatch):
    """The rates as a new process would find them."""
    monkeypatch.setattr(kept, "_known", {})
    return kept.rates()


def test_they_are_measured_once_and_kept(file, monkeypatch):
    assert kept.rates() == MEASURED
    assert file.is_file()
    monkeypatch.setattr(kept, "_measured", lambda: pytest.fail("measured again"))
    assert kept.rates() == MEASURED
    assert read_again(monkeypatch) == MEASURED


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "{}", '{"of": 1}', "\0\0", '{"of": {}, "rates": []}'],
)
def test_a_corrupt_file_is_said_once_and_rebuilt(file, monkeypatch, text):
    file.parent.mkdir()
    file.write_text(text)
    if text.startswith('{"of": {}'):  # of this machine, but not rates
        file.write_text(json.dumps({"of": kept._identity(), "rates": []}))
    if text == '{"of": 1}':  # of another machine: no fault, and nothing to say
        assert read_again(monkeypatch) == MEASURED
    else:
        with pytest.warns(RuntimeWarning, match="cannot be read .* measured anew"):
            assert read_again(monkeypatch) == MEASURED
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert kept.rates() == MEASURED
        assert read_again(monkeypatch) == MEASURED


@pytest.mark.parametrize("rate", [-1.0, float("nan"), float("inf"), "fast", None])
def test_a_rate_that_is_none(file, monkeypatch, rate):
    file.parent.mkdir()
    rates = MEASURED._asdict() | {"byte": rate}
    file.write_text(json.dumps({"of": kept._identity(), "rates": rates}))
    with pytest.warns(RuntimeWarning, match="measured anew"):
        assert read_again(monkeypatch) == MEASURED


@pytest.mark.parametrize("of", ["version", "cpu", "blas", "numpy"])
def test_another_machine_or_version_measures_for_itself(file, monkeypatch, of):
    file.parent.mkdir()
    other = kept._identity() | {of: "another"}
    file.write_text(json.dumps({"of": other, "rates": DEFAULT._asdict()}))
    assert read_again(monkeypatch) == MEASURED


def test_a_folder_that_cannot_be_made_is_done_without(tmp_path, monkeypatch):
    """Where a file stands in the place of the folder, not even root can write."""
    (tmp_path / "cache").write_text("")
    monkeypatch.setenv("MINICNN_RATES", str(tmp_path / "cache" / "rates.json"))
    monkeypatch.setattr(kept, "_measured", lambda: MEASURED)
    assert read_again(monkeypatch) == MEASURED
    assert kept.calibrate() == MEASURED


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_is_done_without(file, monkeypatch):
    file.parent.mkdir()
    file.parent.chmod(stat.S_IRUSR | stat.S_IXUSR)
    assert read_again(monkeypatch) == MEASURED
    assert not file.exists()


def test_by_default_they_are_in_the_users_cache(tmp_path, monkeypatch):
    monkeypatch.delenv("MINICNN_RATES")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr(kept, "_measured", lambda: MEASURED)
    assert read_again(monkeypatch) == MEASURED
    assert (tmp_path / "minicnn" / "conv-rates.json").is_file()


def test_default_measures_nothing(monkeypatch):
    monkeypatch.setenv("MINICNN_RATES", "default")
    monkeypatch.setattr(kept, "_measured", lambda: pytest.fail("measured"))
    assert read_again(monkeypatch) == DEFAULT


def test_measuring_ends_when_its_time_is_over(monkeypatch):
    """Every run is made once unmeasured and, however little time there is, once measured; no round begins too late."""
    clock = iter(np.arange(1e6) * 0.1)  # each look at it takes a tenth of a second
    calls = []
    runs = [kept._Timed(f"{i}", np.ones(model.KINDS), lambda i=i: calls.append(i)) for i in range(3)]
    monkeypatch.setattr(kept, "SHAPES", [()])
    monkeypatch.setattr(kept, "_runs", lambda: runs)
    monkeypatch.setattr(kept.time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(kept, "SECONDS", 0)
    kept._measured()
    assert calls == [0, 1, 2] * 2
    monkeypatch.setattr(
        kept, "SECONDS", 1
    )  # a round takes seven looks: the second begins in time, a third would not
    calls.clear()
    kept._measured()
    assert calls == [0, 1, 2] * 3


def test_calibrating_anew_replaces_what_was_kept(file, monkeypatch):
    kept.rates()
    monkeypatch.undo()
    monkeypatch.setenv("MINICNN_RATES", str(file))
    found = conv.calibrate()
    assert found != MEASURED
    assert all(rate >= 0 for rate in found[: model.KINDS])
    assert found.multiply_add > 0
    assert read_again(monkeypatch) == found


def test_the_rates_are_found_from_times_that_follow_them(monkeypatch):
    monkeypatch.setattr(kept, "PULL", 1e-9)
    rng = np.random.default_rng(0)
    true = np.array(DEFAULT[: model.KINDS]) * rng.uniform(0.5, 2, model.KINDS)
    features = rng.uniform(0.2, 1, (200, len(true))) / np.array(DEFAULT[: model.KINDS])
    found = np.array(kept._solved(features, features @ true))
    np.testing.assert_allclose(found, true, rtol=1e-3)
    nothing = np.array(kept._solved(np.zeros_like(features), features @ true))
    np.testing.assert_allclose(nothing, DEFAULT[: model.KINDS])  # where the measurements tell nothing


def test_least_squares_that_are_not_negative():
    rng = np.random.default_rng(0)
    for _ in range(20):
        a, b = rng.normal(size=(12, 4)), rng.normal(size=12)
        x = kept._non_negative(a, b)
        slope = a.T @ (a @ x - b)
        assert (x >= 0).all()
        np.testing.assert_allclose(slope[x > 0], 0, atol=1e-12)


def test_the_model_shares_among_the_threads_what_they_can_share():
    work = Work((Product(4, 100, 100, 100),), (Pass(10**6, 100),), tasks=4, calls=1000)
    one, two = (seconds(work, DEFAULT._replace(threads=n)) for n in (1, 2))
    calls = 1000 * DEFAULT.call
    assert one - calls == pytest.approx(2 * (two - calls - DEFAULT.sharing))
    three = shared_counts(work, 3)
    np.testing.assert_allclose(
        three[:8], shared_counts(work, 1)[:8] / 2
    )  # four tasks, three threads: two turns


def test_the_choice_does_not_depend_on_the_threads_in_use(monkeypatch):
    from minicnn import get_num_threads, set_num_threads

    monkeypatch.setenv("MINICNN_RATES", "default")
    problem = Problem((1, 64, 12, 12), 64, Window2d.of("test", 3, padding=1))
    before = get_num_threads()
    try:
        chosen = []
        for n in (1, 2, 16):
            set_num_threads(n)
            chosen.append(fastest(problem, "forward"))
    finally:
        set_num_threads(before)
    assert len(set(chosen)) == 1


def test_rates_that_make_an_algorithm_dear_turn_the_choice(monkeypatch):
    problem = Problem((8, 256, 28, 28), 256, Window2d.of("test", 3, padding=1))
    monkeypatch.setattr(
        kept, "_known", {"x": DEFAULT, "y": Rates(*([0.0] * 8), call=1.0, step=1.0, sharing=0.0, threads=2)}
    )
    monkeypatch.setenv("MINICNN_RATES", "x")
    assert fastest(problem, "forward") == "winograd_4x4"
    monkeypatch.setenv("MINICNN_RATES", "y")  # only calls count
    assert not fastest(problem, "forward").startswith("winograd")


def test_counts_have_a_place_for_each_rate():
    assert len(model.counts(Work())) == model.KINDS == Rates._fields.index("threads")
