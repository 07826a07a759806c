"""Dropout's kernels, run by the emulator: its generator against known answers, every version against plain Python."""

import ml_dtypes
import numpy as np
import pytest
from emulated import MODES, launcher, needs_compiler
from ladder import close, in_mode, in_turn, launches, wide

from minicnn.backend.ladder.dropout import LADDER, dropout, philox

pytestmark = needs_compiler

VERSION = pytest.mark.parametrize("version", LADDER["dropout"])

# Counter, key and words, as Random123, the library of Salmon et al., lists them for philox4x32 with 10 rounds.
KNOWN = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


def words_of(*hexadecimal):
    return np.array([[int(word, 16) for word in row.split()] for row in hexadecimal], np.uint32)


def philox_by_definition(counter, key):
    """Ten rounds in Python's integers, from the paper's section 5."""
    a, b, c, d = counter
    k, l = key
    for _ in range(10):
        first, second = 0xD2511F53 * a, 0xCD9E8D57 * c
        a, b, c, d = (second >> 32) ^ b ^ k, second % 2**32, (first >> 32) ^ d ^ l, first % 2**32
        k, l = (k + 0x9E3779B9) % 2**32, (l + 0xBB67AE85) % 2**32
    return a, b, c, d


def halves(number):
    return number % 2**32, number >> 32


def kept_by_definition(count, p, seed, offset):
    """Which elements are kept: word i % 4 of counter (i / 4, offset) under the key `seed` is at least p · 2³²."""
    words = [
        philox_by_definition((*halves(i), *halves(offset)), halves(seed)) for i in range((count + 3) // 4)
    ]
    return np.array([word / 2**32 >= p for four in words for word in four], bool)[:count]


def case(count, dtype=np.float32):
    return np.random.default_rng(count).uniform(1, 2, count).astype(dtype)


def test_the_known_answers():
    counters, keys, words = (words_of(*column) for column in zip(*KNOWN, strict=True))
    for on in (launcher(), wide(launcher())):
        np.testing.assert_array_equal(philox(on, counters, keys), words)
    for counter, key, expected in zip(counters.tolist(), keys.tolist(), words.tolist(), strict=True):
        assert list(philox_by_definition(counter, key)) == expected


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_the_generator(mode):
    rng = np.random.default_rng(0)
    counters, keys = (rng.integers(2**32, size=(261, k), dtype=np.uint32) for k in (4, 2))
    expected = [philox_by_definition(c, k) for c, k in zip(counters.tolist(), keys.tolist(), strict=True)]
    np.testing.assert_array_equal(philox(in_mode(mode), counters, keys), expected)


@VERSION
@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 31, 32, 33, 127, 255, 257, 1023, 1024, 1025, 1031])
def test_what_is_kept(version, count):
    x = case(count)
    for p, seed, offset in ((0.5, 1, 0), (0.2, 2**63 + 5, 3), (0.75, 7, 2**40 + 1)):
        y = dropout(in_turn(count), x, p, seed=seed, offset=offset, version=version)
        kept = kept_by_definition(count, p, seed, offset)
        close(y, np.where(kept, x / (1 - p), 0), 1e-6)


@VERSION
@pytest.mark.parametrize("mode", MODES, ids=str)
def test_every_mode(version, mode):
    x = case(1027)
    y = dropout(in_mode(mode), x, 0.3, seed=11, offset=5, version=version)
    np.testing.assert_array_equal(y != 0, kept_by_definition(1027, 0.3, 11, 5))


@pytest.mark.parametrize(
    ("version", "dtype"),
    [(version, dtype) for version in ("v1", "v2") for dtype in (np.float16, ml_dtypes.bfloat16)]
    + [("v1", np.float64), (None, np.float64)],
)
@pytest.mark.parametrize("count", [7, 8, 9, 2056])
def test_other_dtypes_keep_the_same_elements(version, dtype, count):
    x = case(count, dtype)
    y = dropout(launcher(), x, 0.4, seed=3, version=version)
    assert y.dtype == dtype
    close(y, np.where(kept_by_definition(count, 0.4, 3, 0), x.astype(np.float64) / 0.6, 0))


@VERSION
def test_64_bit_indices(version):
    x = case(261)
    y = dropout(wide(launcher()), x, 0.5, seed=1, version=version)
    np.testing.assert_array_equal(y != 0, kept_by_definition(261, 0.5, 1, 0))


@VERSION
def test_the_gradient_has_the_same_mask_and_other_calls_have_others(version):
    on, x, g = launcher(), case(1000).reshape(5, 5, 8, 5), case(1000)[::-1].reshape(5, 5, 8, 5).copy()
    y = dropout(on, x, seed=1, offset=7, version=version)
    dx = dropout(on, g, seed=1, offset=7, version=version)
    np.testing.assert_array_equal(dx, np.where(y != 0, 2 * g, 0))
    masks = {
        (y != 0).tobytes(),
        *((dropout(on, x, seed=s, offset=o, version=version) != 0).tobytes() for s, o in ((1, 8), (2, 7))),
        *(
            (dropout(on, x, seed=1 + (s << 32), offset=7 + (o << 32)) != 0).tobytes()
            for s, o in ((1, 0), (0, 1))
        ),
    }
    assert len(masks) == 5


def test_the_rate():
    """Of 40,000 fair draws 98 is the standard deviation from p: five of it."""
    x = np.ones(40_000, np.float32)
    for p in (0.1, 0.5, 0.9):
        kept = dropout(launcher(), x, p, seed=99) != 0
        assert abs(kept.sum() - 40_000 * (1 - p)) <= 5 * np.sqrt(40_000 * p * (1 - p))
        # and of pairs, 1 to 5 apart, that the words of one counter and of the next are no copies of each other
        for apart in range(1, 6):
            both = (kept[apart:] & kept[:-apart]).sum()
            assert abs(both - 40_000 * (1 - p) ** 2) <= 5 * np.sqrt(40_000) / 2


@VERSION
def test_none_and_all(version):
    x = case(4099)
    np.testing.assert_array_equal(dropout(launcher(), x, 0, seed=1, version=version), x)
    np.testing.assert_array_equal(dropout(launcher(), x, 1, seed=1, version=version), 0)


@VERSION
def test_a_word_of_just_the_rate_is_kept(version):
    word, *_ = philox_by_definition((0, 0, 0, 0), (1, 0))
    for step, kept in ((0, True), (1, False)):
        y = dropout(launcher(), np.ones(1, np.float32), (word + step) / 2**32, seed=1, version=version)
        assert (y[0] != 0) == kept


@VERSION
def test_a_dropped_infinity_is_0_and_the_scale_may_be_given(version):
    x = np.full(64, np.inf, np.float32)
    kept = kept_by_definition(64, 0.5, 1, 0)
    np.testing.assert_array_equal(dropout(launcher(), x, seed=1, version=version), np.where(kept, np.inf, 0))
    y = dropout(launcher(), np.ones_like(x), seed=1, scale=1.0, version=version)
    np.testing.assert_array_equal(y, kept)


@VERSION
def test_in_place(version):
    x = case(37)
    expected = dropout(launcher(), x, seed=1, version=version)
    assert dropout(launcher(), x, seed=1, out=x, version=version) is x
    np.testing.assert_array_equal(x, expected)
    assert dropout(launcher(), x[:0], seed=1, version=version).shape == (0,)


def test_what_moves_as_the_header_counts_it():
    x = case(1024)
    for version, requests in (("v1", 2 * 1024 / 32), ("v2", 2 * 1024 / 128)):
        (launch,) = launches(lambda on, version=version: dropout(on, x, seed=1, version=version))
        assert launch.bytes(0, 1) == 2 * x.nbytes
        assert len(launch.of(0, 1)) == requests


X = np.ones((4, 6), np.float32)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"p": 1.5}, ValueError, r"p must be in \[0, 1\], got 1.5"),
        ({"p": float("nan")}, ValueError, r"p must be in \[0, 1\], got nan"),
        ({"seed": -1}, ValueError, "seed must fit unsigned long long"),
        ({"offset": 2**64}, ValueError, "offset must fit unsigned long long"),
        ({"seed": 0.5}, TypeError, "seed must be an int"),
        ({"x": X.T}, ValueError, "x must be C-contiguous"),
        ({"x": X.astype(int)}, ValueError, "not made for <long long, int"),
        ({"x": X.astype(float), "version": "v2"}, ValueError, "v2: takes float32.*got float64"),
        ({"out": X[:2]}, ValueError, r"out must be .* of shape \(4, 6\), got .* \(2, 6\)"),
        ({"version": "v3"}, ValueError, "must be one of v1, v2, got 'v3'"),
    ],
)
def test_what_is_refused(options, error, message):
    with pytest.raises(error, match=message):
        dropout(launcher(), **{"x": X, "seed": 1, **options})
