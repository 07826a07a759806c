"""Threads: every task once, the same bits, BLAS restored, no deadlock."""

import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from minicnn.backend.channel_sum import channel_sum
from minicnn.backend.matmul import matmul
from minicnn.backend.parallel import get_num_threads, one_blas_thread, parallel_for, set_num_threads
from minicnn.backend.workspace import scratch


@pytest.fixture(autouse=True)
def _restored():
    before = get_num_threads()
    yield
    set_num_threads(before)


def blas_threads():
    return [info["num_threads"] for info in threadpool_info() if info["user_api"] == "blas"]


@pytest.mark.parametrize("threads", [1, 2, 7])
@pytest.mark.parametrize("count", [0, 1, 5, 100])
def test_every_task_runs_once(threads, count):
    set_num_threads(threads)
    runs = [0] * count
    parallel_for(count, lambda i: runs.__setitem__(i, runs[i] + 1))
    assert runs == [1] * count


def test_work_is_really_shared():
    set_num_threads(2)
    both = threading.Barrier(2, timeout=10)
    parallel_for(2, lambda i: both.wait())  # passes only if two threads are inside at once


@pytest.mark.parametrize("threads", [1, 3])
def test_the_first_error_comes_out_and_work_goes_on(threads):
    set_num_threads(threads)

    def task(i):
        if i == 3:
            raise ZeroDivisionError("task 3")

    for _ in range(3):
        with pytest.raises(ZeroDivisionError, match="task 3"):
            parallel_for(50, task)
    done = []
    parallel_for(4, done.append)
    assert sorted(done) == [0, 1, 2, 3]


@pytest.mark.parametrize("fails", [False, True])
def test_blas_is_held_to_one_thread_and_restored(fails):
    before = blas_threads()
    if not before:
        pytest.skip("threadpoolctl knows no BLAS here: nothing to hold")
    inside = []

    def task(i):
        inside.append(blas_threads())
        if fails:
            raise ValueError

    with one_blas_thread():
        try:
            parallel_for(2, task)
        except ValueError:
            assert fails
        assert set(blas_threads()) == {1}
    assert all(set(threads) == {1} for threads in inside)
    assert blas_threads() == before


def test_nested_and_concurrent_use_ends():
    set_num_threads(3)
    total = []

    def outer(i):
        parallel_for(4, lambda j: total.append((i, j)))

    threads = [threading.Thread(target=parallel_for, args=(5, outer)) for _ in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(timeout=30)
    assert not any(t.is_alive() for t in threads)
    assert len(total) == 6 * 5 * 4


SCRIPT = """
import os, sys, numpy as np, minicnn
from minicnn import conv
x, w = np.ones((4, 8, 32, 32), 'f4'), np.ones((8, 8, 3, 3), 'f4')
minicnn.set_num_threads(2)
expected = conv.conv2d(x, w)
{}
"""


@pytest.mark.parametrize(
    "script",
    [
        # A forked child has no worker threads; it must start its own.
        "pid = os.fork()\n"
        "if pid == 0: os._exit(0 if (conv.conv2d(x, w) == expected).all() else 1)\n"
        "sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))",
        # At exit the pool no longer takes work; the caller does it.
        "import atexit; atexit.register(lambda: print((conv.conv2d(x, w) == expected).all()))",
    ],
    ids=["fork", "exit"],
)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_fork_and_exit(script):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT.format(script)],
        timeout=60,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "False" not in done.stdout


@pytest.mark.parametrize(("value", "expected"), [("3", 3), ("4,2", 4), ("x", None), ("", None), ("0", None)])
def test_default_number_of_threads(value, expected):
    code = "import minicnn; print(minicnn.get_num_threads())"
    env = {**os.environ, "OMP_NUM_THREADS": value}
    out = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert int(out.stdout) == (expected or cpus)


@pytest.mark.parametrize("n", [0, -1, 1.5, True, None, "2"])
def test_bad_number_of_threads(n):
    with pytest.raises(ValueError, match="set_num_threads: n must be an int of at least 1"):
        set_num_threads(n)


@pytest.mark.parametrize(
    "shape", [(3, 4, 5), (700, 300, 500), (8, 2000, 3000), (3000, 2000, 8), (0, 3, 4), (4, 0, 3)]
)
def test_matmul_is_numpys(shape):
    rng = np.random.default_rng(0)
    m, k, n = shape
    a, b = rng.normal(size=(m, k)), rng.normal(size=(k, n))
    results = []
    for threads in (1, 2, 3):
        set_num_threads(threads)
        results.append(matmul(a, b))
    np.testing.assert_allclose(results[0], a @ b, rtol=1e-10, atol=1e-10)
    assert all((r == results[0]).all() for r in results)


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 4), (5, 7, 60, 70), (0, 3, 2, 2), (2, 1, 3, 3)])
@pytest.mark.parametrize("last", [False, True])
def test_channel_sum(shape, last):
    x = np.random.default_rng(0).normal(size=shape)
    if last:
        x = np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)
    expected = [sum(x[:, c].ravel().tolist()) for c in range(shape[1])]
    np.testing.assert_allclose(channel_sum(x), expected, rtol=1e-9, atol=1e-9)


def test_channel_sum_rounds_little():
    """A million ones and a bit, in single precision: a running sum would lose the bits."""
    x = np.full((1, 1000, 1000, 2), 1.0001, np.float32).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(channel_sum(x), np.float64(np.float32(1.0001)) * 1e6, rtol=1e-6)


def test_scratch_is_per_thread_and_purpose_and_grows():
    a = scratch("test a", (4,), np.dtype("f4"))
    assert a.ctypes.data % 64 == 0
    assert np.shares_memory(a, scratch("test a", (2,), np.dtype("f8")))
    assert not np.shares_memory(a, scratch("test b", (4,), np.dtype("f4")))
    assert not np.shares_memory(a, scratch("test a", (1000,), np.dtype("f4")))
    others = []
    thread = threading.Thread(target=lambda: others.append(scratch("test a", (4,), np.dtype("f4"))))
    thread.start()
    thread.join()
    assert not np.shares_memory(others[0], scratch("test a", (4,), np.dtype("f4")))


@pytest.mark.parametrize("goes_on", [False, True])
def test_ctrl_c_while_a_thread_starts_leaves_none_behind(goes_on):
    code = """
import threading
from concurrent.futures import thread
from minicnn.backend.parallel import parallel_for, set_num_threads

class Interrupted(thread.threading.Thread):
    def start(self):
        super().start()
        raise KeyboardInterrupt  # before the executor has written down that it runs

set_num_threads(3)
right = threading.Thread
threading.Thread = Interrupted
try:
    parallel_for(8, lambda i: None)
except KeyboardInterrupt:
    print("interrupted")
threading.Thread = right
"""
    code += 'parallel_for(8, lambda i: print("on", end=" "))' * goes_on
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "interrupted\n" + "on " * 8 * goes_on
