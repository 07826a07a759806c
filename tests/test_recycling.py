"""Memory used again: only when nothing is left in it, never more than there was, in every thread and after a fork."""

import gc
import os
import threading

import numpy as np
import pytest

from minicnn.backend import recycling
from minicnn.backend.recycling import lend, release
from minicnn.backend.workspace import empty, poisoned

MB = 1 << 20


@pytest.fixture
def blocks(monkeypatch):
    """Blocks of the test's own, none of which waits yet."""
    gc.collect()
    recycling._blocks.collect()
    monkeypatch.setattr(recycling, "_blocks", recycling._Blocks())
    return recycling._blocks


def address(array):
    return array.ctypes.data


def test_memory_waits_for_the_next_array_of_its_size(blocks):
    a, b = lend(MB), lend(2 * MB)
    first, second = address(a), address(b)
    del a, b
    assert address(lend(2 * MB)) == second
    assert address(lend(MB)) == first


@pytest.mark.parametrize(
    "view",
    [
        lambda a: a[10:],
        lambda a: a[16:].view(np.float32).reshape(-1, 4)[1:],
        lambda a: a.view(np.float32).reshape(16, -1).T,
        lambda a: np.lib.stride_tricks.as_strided(a, (4,), (0,)),
        lambda a: memoryview(a),
        lambda a: a.view(np.recarray),
        lambda a: np.broadcast_to(a, (2, a.size)),
    ],
    ids=["slice", "view of a view", "transposed", "strided", "memoryview", "subclass", "broadcast"],
)
def test_whatever_views_it_keeps_it(blocks, view):
    a = lend(MB + 8)
    first = address(a)
    kept = view(a[:MB])
    del a
    assert address(lend(MB + 8)) != first
    del kept
    assert address(lend(MB + 8)) == first


def test_what_is_lent_and_what_waits_are_no_more_than_was_lent_at_once(blocks):
    draw = np.random.default_rng(0)
    held, most = [], 0
    for _ in range(300):
        if held and draw.random() < 0.5:
            held.pop(draw.integers(len(held)))
        else:
            held.append(lend(int(draw.integers(1, 40)) * (1 << 16)))
        most = max(most, sum(map(len, held)))
        blocks.collect()
        assert blocks.bytes_lent == sum(map(len, held))
        assert blocks.bytes_waiting == sum(size * len(alike) for size, alike in blocks.waiting.items())
        assert blocks.bytes_lent + blocks.bytes_waiting <= blocks.most_lent == most


def test_what_was_not_asked_for_the_longest_goes_first(blocks):
    sizes = [3 * MB, 2 * MB, MB]
    arrays = [lend(size) for size in sizes]
    del arrays  # all wait, as large as ever
    again = lend(3 * MB)
    del again
    more = lend(4 * MB)  # the 2 MB and then the rest must make room
    blocks.collect()
    assert 2 * MB not in blocks.waiting
    assert len(more) == 4 * MB


def test_release_gives_everything_back(blocks):
    held = lend(MB)
    lend(2 * MB)
    release()
    assert not blocks.waiting
    assert (blocks.bytes_lent, blocks.bytes_waiting, blocks.most_lent) == (len(held), 0, len(held))


def test_large_arrays_are_of_such_memory_and_small_ones_not(blocks):
    empty((1000,), np.float32)
    assert blocks.bytes_lent == 0
    a = empty((1000, 1000), np.float32)
    assert blocks.bytes_lent >= a.nbytes
    assert a.ctypes.data % 64 == 0
    a[...] = 1
    first = address(a)
    del a
    with poisoned():
        b = empty((1000, 1000), np.float32)
        assert address(b) == first
        assert np.isnan(b).all()


def test_threads_and_the_collector_of_cycles_do_not_mix_it_up(blocks):
    """Each thread fills what it was lent and finds it as it left it; some arrays die in cycles."""
    wrong = []

    def work(number):
        draw = np.random.default_rng(number)
        held = []
        for i in range(300):
            a = lend(int(draw.integers(1, 4)) * (1 << 14))
            a[...] = number
            held.append(a)
            if draw.random() < 0.6:
                b = held.pop(draw.integers(len(held)))
                wrong.extend([number] if (b != number).any() else [])
                cycle = [b]
                cycle.append(cycle)
            if i % 50 == 0:
                gc.collect()

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_forked_while_the_lock_is_held_goes_on():
    with recycling._blocks.lock:
        child = os.fork()
        if child == 0:
            lend(MB)
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
