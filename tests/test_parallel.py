"""Threads: every task once, the same bits, BLAS restored, no deadlock."""

import gc
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from types import SimpleNamespace

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from minicnn.backend import blas_limit, parallel
from minicnn.backend.channel_sum import channel_sum
from minicnn.backend.cpus import usable_cpus
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


def in_a_thread(work):
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_blas_is_held_whichever_thread_asks():
    """The first thread to hold it is not the only one that can, and the last one out need not be the first one in."""
    before = blas_threads()
    with one_blas_thread():  # this thread is the first
        pass
    inside, leave, seen = threading.Event(), threading.Event(), []

    def other():
        with one_blas_thread():
            seen.extend(blas_threads())
            inside.set()
            leave.wait(10)

    thread = in_a_thread(other)
    assert inside.wait(10)
    with one_blas_thread():
        leave.set()
        thread.join(10)
        seen.extend(blas_threads())
    assert set(seen) <= {1}
    assert blas_threads() == before

    inside.clear()
    leave.clear()
    with one_blas_thread():
        thread = in_a_thread(other)
        assert inside.wait(10)
    seen.extend(blas_threads())
    leave.set()
    thread.join(10)
    assert set(seen) <= {1}
    assert blas_threads() == before


class OpenMPLibrary:
    """What threadpoolctl says of an OpenBLAS that keeps a number of threads for each thread."""

    internal_api, threading_layer = "openblas", "openmp"

    def __init__(self):
        self.number = threading.local()

    def get_num_threads(self):
        return getattr(self.number, "threads", 8)

    def set_num_threads(self, threads):
        self.number.threads = threads


def test_a_blas_with_a_number_for_each_thread_is_held_in_each(monkeypatch):
    library = OpenMPLibrary()
    found = SimpleNamespace(select=lambda user_api: SimpleNamespace(lib_controllers=[library]))
    monkeypatch.setattr(blas_limit, "ThreadpoolController", lambda: found)
    monkeypatch.setattr(blas_limit, "_limit", blas_limit._Limit())
    set_num_threads(3)
    together, inside = threading.Barrier(3, timeout=10), []

    def task(i):
        together.wait()
        inside.append((threading.get_ident(), library.get_num_threads()))

    parallel_for(3, task)
    assert len({thread for thread, _ in inside}) == 3
    assert {number for _, number in inside} == {1}
    assert library.get_num_threads() == 8


@pytest.mark.parametrize("fails", [False, True])
def test_what_a_call_used_is_freed_with_it(fails):
    """Neither an invitation that nobody has come for, nor the traceback of an error, holds the arrays."""
    set_num_threads(3)
    array = np.ones(3)
    freed = weakref.ref(array)

    def task(i, array=array):
        if fails:
            raise ValueError(array)

    gc.disable()
    try:
        for _ in range(20):
            try:
                parallel_for(3, task)
            except ValueError:
                assert fails
        del task, array
        # The last helper lets go of its task a moment after the call has ended.
        assert freed() is None or in_a_moment(lambda: freed() is None)
    finally:
        gc.enable()


def in_a_moment(condition):
    """Wait until it is true: on a machine as busy as may be, not longer than ten seconds."""
    pause = threading.Event()
    return any(condition() or pause.wait(0.01) for _ in range(1000))


def test_the_callers_context_reaches_every_thread():
    set_num_threads(3)
    together, zero = threading.Barrier(3, timeout=10), np.zeros(1)

    def task(i):
        together.wait()
        return 1 / zero  # warnings are errors here

    with np.errstate(divide="ignore"):
        parallel_for(3, task)
    with pytest.raises(RuntimeWarning), np.errstate(divide="warn"):
        parallel_for(3, task)


def test_tasks_within_a_task_run_one_after_the_other():
    set_num_threads(4)
    both = threading.Barrier(2)

    def inner(i):
        with pytest.raises(threading.BrokenBarrierError):
            both.wait(timeout=0.2)  # nobody comes

    parallel_for(2, lambda i: i == 0 and parallel_for(2, inner))


def test_who_comes_after_the_end_finds_nothing_to_do():
    done = []
    work = parallel._Work(3, done.append)
    work.finish()
    work.help()
    assert (done, work.errors, work.begun) == ([], [], 0)


def test_after_an_error_no_task_begins():
    done = []
    work = parallel._Work(3, done.append)
    work.errors.append(ValueError())  # another thread's
    work.run()
    assert not done


def test_who_was_dismissed_starts_no_more():
    """As when a call meets ``set_num_threads`` of another thread before its helpers are started."""
    dismissed = parallel._Workers(2)
    dismissed.dismiss()
    done = []
    dismissed.invite(parallel._Work(1, done.append), 1)
    assert (dismissed.started, done) == (0, [])


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="needs pthread_kill")
def test_ctrl_c_while_waiting_leaves_no_task_running():
    # Also where the tests run in the background of a shell, which lets them ignore Ctrl-C.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    set_num_threads(2)
    begun, ended = threading.Event(), []

    def task(i):
        if threading.current_thread() is threading.main_thread():
            assert begun.wait(10)
            return
        begun.set()
        time.sleep(0.1)  # until the main thread has done its own, and waits
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        time.sleep(0.1)
        ended.append(i)

    try:
        with pytest.raises(KeyboardInterrupt):
            parallel_for(2, task)
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(ended) == 1


def test_it_can_be_called_in_the_midst_of_itself():
    """By a signal handler or a finalizer: they run between any two steps, with whatever locks are held there."""
    set_num_threads(2)
    done = []

    def interrupted():
        with blas_limit._limit.lock, parallel._pool.workers.lock:
            parallel_for(4, done.append)

    thread = threading.Thread(target=interrupted, daemon=True)
    thread.start()
    thread.join(10)
    assert sorted(done) == [0, 1, 2, 3]


def workers():
    return [thread for thread in threading.enumerate() if thread.name == "minicnn"]


def test_threads_are_started_once_and_end_when_there_are_to_be_fewer():
    set_num_threads(4)
    for _ in range(5):
        parallel_for(8, lambda i: None)
    started = workers()
    assert len([thread for thread in started if thread.is_alive()]) >= 3
    set_num_threads(1)
    for thread in started:
        thread.join(10)
        assert not thread.is_alive()
    parallel_for(8, lambda i: None)
    assert not workers()


def test_the_number_of_threads_may_change_while_tasks_run():
    """From another thread, and from a task itself."""
    set_num_threads(3)
    stop, runs, failed = threading.Event(), [], []

    def compute():
        while not stop.is_set():
            done = []
            parallel_for(6, done.append)
            runs.append(None)
            if sorted(done) != [0, 1, 2, 3, 4, 5]:
                failed.append(done)

    threads = [in_a_thread(compute) for _ in range(3)]
    for n in range(300):
        set_num_threads(n % 5 + 1)
    parallel_for(4, lambda i: set_num_threads(i + 1))
    assert in_a_moment(lambda: len(runs) > 100)
    stop.set()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    assert not failed


def test_where_no_thread_can_be_started_the_caller_works_alone(monkeypatch):
    class Refused(threading.Thread):
        def start(self):
            raise RuntimeError("can't start new thread")

    set_num_threads(3)
    with monkeypatch.context() as patch:
        patch.setattr(threading, "Thread", Refused)
        done = []
        parallel_for(5, done.append)
    assert done == [0, 1, 2, 3, 4]


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
import multiprocessing, os, threading, time, numpy as np, minicnn
from threadpoolctl import threadpool_info
from minicnn import conv
from minicnn.backend.parallel import one_blas_thread, parallel_for
x, w = np.ones((4, 8, 32, 32), 'f4'), np.ones((8, 8, 3, 3), 'f4')
minicnn.set_num_threads(2)
expected = conv.conv2d(x, w)

def blas_threads():
    return [info["num_threads"] for info in threadpool_info() if info["user_api"] == "blas"]

blas = blas_threads()

def right(_=None):
    return bool((conv.conv2d(x, w) == expected).all())

def go_on():
    while running:
        right()

def computing(daemon):
    for _ in range(3):
        threading.Thread(target=go_on, daemon=daemon).start()

running = True
"""


@pytest.mark.parametrize(
    "script",
    [
        # A forked child has no worker threads; it must start its own.
        """
both = threading.Barrier(2, timeout=10)
pid = os.fork()
if pid == 0:
    parallel_for(2, lambda i: both.wait())  # passes only if two threads are inside at once
    os._exit(not right())
print(os.waitpid(pid, 0)[1] == 0)
""",
        # Other threads are in the midst of it, and hold what locks there are: in the child they are gone.
        """
computing(daemon=True)
statuses = []
for _ in range(20):
    pid = os.fork()
    if pid == 0: os._exit(not (right() and blas == blas_threads()))
    statuses.append(os.waitpid(pid, 0)[1])
print(statuses == [0] * 20)
running = False
""",
        # In particular these, and no thread is there to let them go.
        """
from minicnn.backend import blas_limit, parallel
for lock in (blas_limit._limit.lock, parallel._pool.workers.lock):
    threading.Thread(target=lock.acquire).start()
time.sleep(0.1)
pid = os.fork()
if pid == 0: os._exit(not right())
print(os.waitpid(pid, 0)[1] == 0)
""",
        # The same as multiprocessing does it, for loading data.
        """
computing(daemon=True)
with multiprocessing.get_context("fork").Pool(2) as pool:
    print(all(pool.map(right, range(8))))
running = False
""",
        # The child of a thread that holds BLAS itself lets it go by itself.
        """
with one_blas_thread():
    pid = os.fork()
    held = set(blas_threads()) <= {1} and right()
restored = blas == blas_threads()
if pid == 0: os._exit(not (held and restored))
print(os.waitpid(pid, 0)[1] == 0)
""",
        # At exit threads of the user's are still computing: some that nobody waits for, some that end a bit later.
        "computing(daemon=True); time.sleep(0.1); print(right())",
        """
computing(daemon=False)
def later():
    global running
    time.sleep(0.2)
    running = False
threading.Thread(target=later).start()
print(right())
""",
        # And the main thread itself, when it has come to the very end.
        "import atexit; atexit.register(lambda: print(right()))",
        """
class Last:
    def __del__(self): assert right()
minicnn.last = Last()  # what a module holds goes later than what the script does
computing(daemon=True)
print(right())
""",
    ],
    ids=[
        "fork",
        "fork beside threads",
        "fork beside locks",
        "multiprocessing",
        "fork inside",
        "daemons at exit",
        "threads at exit",
        "atexit",
        "finalizer",
    ],
)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_fork_and_exit(script):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT + script],
        timeout=60,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "True\n", "")


@pytest.mark.parametrize(("value", "expected"), [("3", 3), ("4,2", 4), ("x", None), ("", None), ("0", None)])
def test_default_number_of_threads(value, expected):
    code = "import minicnn; print(minicnn.get_num_threads())"
    env = {**os.environ, "OMP_NUM_THREADS": value}
    out = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert int(out.stdout) == (expected or usable_cpus())


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs sched_setaffinity")
def test_only_the_cpus_this_process_may_run_on_count():
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\nimport minicnn\n"
    code += "print(minicnn.get_num_threads())"
    env = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    out = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert out.stdout == "1\n"


V1 = "12:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n0::/docker/abc\n"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 8),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}, 8),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "200000 100000\n"}, 2),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "150000 100000\n"}, 2),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "20000 100000\n"}, 1),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "1600000 100000\n"}, 8),
        # A limit of a group on the way up holds for all in it; the least one counts.
        (
            {
                "proc/self/cgroup": "0::/a.slice/b:c.scope\n",
                "sys/fs/cgroup/a.slice/cpu.max": "300000 100000\n",
                "sys/fs/cgroup/a.slice/b:c.scope/cpu.max": "500000 100000\n",
            },
            3,
        ),
        # Version 1, as seen on the host and, with its own group at the root, inside the container.
        (
            {
                "proc/self/cgroup": V1,
                "sys/fs/cgroup/cpu/docker/abc/cpu.cfs_quota_us": "250000\n",
                "sys/fs/cgroup/cpu/docker/abc/cpu.cfs_period_us": "50000\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "50000\n",
            },
            5,
        ),
        (
            {
                "proc/self/cgroup": V1,
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "100000\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            1,
        ),
        # Not as Linux writes it.
        ({"proc/self/cgroup": "nonsense\n"}, 8),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "some 100000\n"}, 8),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "100000 0\n"}, 8),
    ],
)
def test_a_containers_quota_counts(files, expected, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert usable_cpus(tmp_path) == expected


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
from minicnn.backend.parallel import parallel_for, set_num_threads

class Interrupted(threading.Thread):
    def start(self):
        super().start()
        raise KeyboardInterrupt  # before anyone has written down that it runs

set_num_threads(3)
right = threading.Thread
threading.Thread = Interrupted
try:
    parallel_for(8, lambda i: None)
except KeyboardInterrupt:
    print("interrupted")
threading.Thread = right
"""
    if goes_on:
        code += "runs = []\nparallel_for(8, runs.append)\nprint(sorted(runs))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "interrupted\n" + "[0, 1, 2, 3, 4, 5, 6, 7]\n" * goes_on
