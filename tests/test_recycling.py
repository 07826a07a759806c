"""Memory used again: only when nothing is left in it, never more than there was, in every thread and after a fork."""

import gc
import itertools
import mmap
import os
import threading

import numpy as np
import pytest

from minicnn.backend import recycling
from minicnn.backend.recycling import lend, release
from minicnn.backend.workspace import empty, poisoned, scratch
from minicnn.bench.memory import resident

MB = 1 << 20


@pytest.fixture
def places(monkeypatch):
    """Places of the test's own, none of which waits yet."""
    gc.collect()
    recycling._places.collect()
    monkeypatch.setattr(recycling, "_places", recycling._Places())
    return recycling._places


@pytest.fixture
def given_back(monkeypatch):
    """How many bytes each return of memory to the system is of."""
    sizes = []
    monkeypatch.setattr(recycling, "_clear", lambda memory, start, size: sizes.append(size))
    return sizes


def address(array):
    return array.ctypes.data


def test_an_array_gets_the_first_gap_that_is_wide_enough(places):
    arrays = [lend(size * MB) for size in (2, 1, 3, 1)]
    first, _, third, last = (address(a) for a in arrays)
    del arrays[2], arrays[0]  # gaps of 2 and 3 MB
    one, three, more = lend(MB), lend(3 * MB), lend(2 * MB)
    assert (address(one), address(three), address(more)) == (first, third, last + MB)


@pytest.mark.parametrize("order", [*itertools.permutations(range(3))])
def test_gaps_beside_each_other_are_one(places, order):
    held = {i: lend(MB) for i in range(4)}
    first = address(held[0])
    for i in order:
        del held[i]
    assert address(lend(3 * MB)) == first


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
def test_whatever_views_it_keeps_it(places, view):
    a = lend(MB + 8)
    first = address(a)
    kept = view(a[:MB])
    del a
    assert address(lend(MB + 8)) != first
    del kept
    assert address(lend(MB + 8)) == first


@pytest.mark.skipif(not hasattr(mmap, "MADV_DONTNEED"), reason="the system takes no single pages")
def test_memory_grows_hardly_beyond_what_was_lent_at_once(places):
    """Each array is touched, so what waits is in main memory, unless it was given back."""
    draw = np.random.default_rng(0)
    held, most = [], 0
    before = resident()
    for _ in range(600):
        if held and draw.random() < 0.5:
            held.pop(draw.integers(len(held)))
        else:
            held.append(lend(int(draw.integers(1, 200)) * (1 << 16)))
            held[-1][::4096] = 1
            lent = sum(map(len, held))
            most = max(most, lent)
            assert places.bytes_lent == lent
            assert places.most_lent == most
            assert lent + places.bytes_waiting <= most * 129 / 128
    assert resident() - before < most * 129 / 128 + 16 * MB


def test_what_waits_is_what_the_gaps_had_and_no_more(places, given_back):
    a, b, c = lend(4 * MB), lend(8 * MB), lend(MB)
    assert places.bytes_waiting == 0
    del b
    d = lend(2 * MB)  # of these 8
    places.collect()
    assert places.bytes_waiting == 6 * MB
    e = lend(
        7 * MB
    )  # behind c, where all is clean: so as much goes back, but for 1/128 of 14 MB, and in huge pages
    assert given_back == [6 * MB]
    assert places.bytes_waiting == 0
    del a, c, d, e
    places.collect()
    assert places.bytes_waiting == 14 * MB + 6 * MB  # a clean part in the midst is taken for one that waits


def test_the_last_bytes_are_given_back_and_whole_huge_pages(places, given_back):
    held = [lend(16 * MB), lend(MB), lend(4 * MB), lend(MB)]
    del held[2], held[0]
    more = lend(17 * MB)  # which is wider than both gaps; with 1/128 of 22 MB to spare, 16.8 MB must go
    assert given_back == [4 * MB, 14 * MB]
    assert places.bytes_waiting == 2 * MB
    assert len(more) == 17 * MB


def test_release_gives_everything_back(places, given_back):
    held, between = lend(MB), lend(2 * MB)
    last = lend(MB)
    del between
    release()
    assert given_back == [2 * MB]
    assert (places.bytes_lent, places.bytes_waiting, places.most_lent) == (2 * MB, 0, 2 * MB)
    assert len(places.stretches) == 1
    del held, last
    release()
    assert given_back == [2 * MB, 4 * MB]
    assert places.stretches == []


def test_an_array_longer_than_a_stretch_has_one_of_its_own(places, monkeypatch):
    monkeypatch.setattr(recycling, "_STRETCH", 4 * MB)
    held = [lend(size * MB) for size in (3, 2, 9, 1)]
    assert [len(stretch.memory) for stretch in places.stretches] == [4 * MB, 4 * MB, 9 * MB]
    assert address(held[3]) == address(held[0]) + 3 * MB


def test_where_there_is_no_room_for_a_stretch_it_is_as_long_as_the_array(places, monkeypatch):
    mapped = recycling._mapped

    def small(size):
        if size > 3 * MB:
            raise OSError(12, "Cannot allocate memory")
        return mapped(size)

    monkeypatch.setattr(recycling, "_mapped", small)
    assert len(lend(2 * MB)) == 2 * MB
    assert [len(stretch.memory) for stretch in places.stretches] == [2 * MB]
    with pytest.raises(MemoryError, match=f"lend: the system has no {5 * MB} bytes"):
        lend(5 * MB)
    assert len(lend(MB)) == MB  # the lock is free
    places.collect()
    assert places.bytes_lent == 0


def test_large_arrays_are_of_such_memory_and_small_ones_not(places):
    empty((1000,), np.float32)
    assert places.bytes_lent == 0
    a = empty((1000, 1000), np.float32)
    assert places.bytes_lent >= a.nbytes
    assert a.ctypes.data % 64 == 0
    first = address(a)
    del a
    assert address(empty((1000, 1000), np.float32)) == first
    with poisoned():  # what can be traced, and is new each time
        assert address(empty((1000, 1000), np.float32)) != first


def test_large_scratch_memory_is_lent_and_free_when_nobody_holds_it(places):
    dtype = np.dtype(np.float32)
    a = scratch("test", (1000, 1000), dtype)
    first = address(a)
    assert places.bytes_lent >= a.nbytes
    assert address(scratch("test", (1000, 1000), dtype)) != first  # a is still held
    del a
    assert address(scratch("another", (900, 1000), dtype)) == first


def test_threads_and_the_collector_of_cycles_do_not_mix_it_up(places):
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
    with recycling._places.lock:
        child = os.fork()
        if child == 0:
            lend(MB)
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
