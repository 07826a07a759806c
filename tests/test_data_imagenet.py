"""The names of ImageNet's classes: all there, in the order of the outputs, none twice."""

import subprocess
import sys

import pytest

from minicnn.data import imagenet

KNOWN = {
    0: "tench",
    1: "goldfish",
    207: "golden retriever",
    281: "tabby",
    282: "tiger cat",
    285: "Egyptian cat",
    340: "zebra",
    474: "cardigan",
    817: "sports car",
    999: "toilet tissue",
}


def test_the_names_are_where_networks_have_them():
    assert len(imagenet.CLASSES) == 1000
    assert {i: imagenet.CLASSES[i] for i in KNOWN} == KNOWN
    assert all(name == name.strip() and "_" not in name for name in imagenet.CLASSES)


def test_no_name_stands_twice():
    """In WordNet "crane" and "maillot" do."""
    assert len(set(imagenet.CLASSES)) == 1000
    assert imagenet.CLASSES[134] == "crane bird"
    assert imagenet.CLASSES[517] == "crane"
    assert imagenet.CLASSES[638:640] == ("maillot", "maillot tank suit")


def test_the_order_is_that_of_wordnet_s_numbers():
    assert list(imagenet.SYNSETS) == sorted(set(imagenet.SYNSETS))
    assert imagenet.SYNSETS[281] == "n02123045"
    assert all(len(synset) == 9 for synset in imagenet.SYNSETS)


def test_the_file_is_read_when_it_is_needed():
    code = (
        "from minicnn.data import imagenet; read = imagenet._columns.cache_info\n"
        "print(read().misses); imagenet.CLASSES; imagenet.CLASSES; print(read().misses)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0", "1"]


def test_there_is_nothing_else_in_it():
    with pytest.raises(AttributeError, match="imagenet' has no attribute 'NAMES'"):
        imagenet.NAMES  # noqa: B018
