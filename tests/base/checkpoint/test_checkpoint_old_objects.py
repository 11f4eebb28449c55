"""Objects in old checkpoints are read as data, and no code of a file is run."""

from __future__ import annotations

import argparse
import datetime
import os
import pickle
import sys
import types
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from base.checkpoint.file import load
from base.checkpoint.old_objects import RefusedObjectError, load_objects
from tests.contract.contract_checkpoints import HOSTILE, Call, Global
from tests.helpers import ROOT
from utils.errors import UserError

PROJECT = """
import collections, dataclasses
LOG = []

def nought():
    return 0

def write():
    LOG.append("it ran")

Pair = collections.namedtuple("Pair", "left right")

@dataclasses.dataclass
class Options:
    depth: int = 1

class Settings(dict):
    pass

class Words:
    def __init__(self, words):
        LOG.append("it ran")
        self.index = collections.defaultdict(nought, {w: i for i, w in enumerate(words)})

    def encode(self, word):
        return self.index[word]

class Restoring(Words):
    def __setstate__(self, state):
        LOG.append("it ran")

class Ending(Words):
    def __del__(self):
        LOG.append("it ran")

class Hashed(Words):
    def __hash__(self):
        LOG.append("it ran")
        return 1

class Called(type):
    def __call__(cls, *args):
        return super().__call__(*args)

class Made(metaclass=Called):
    pass
"""


@pytest.fixture
def words(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A module of a project that is imported."""
    module: Any = types.ModuleType("words")
    module.__file__ = str(ROOT / "words.py")
    monkeypatch.setitem(sys.modules, "words", module)
    exec(PROJECT, vars(module))
    return module


def save(path: Path, value: Any, **options: Any) -> Path:
    torch.save({"state_dict": {"w": torch.ones(2)}, "value": value}, path, **options)
    return path


def read_both(path: Path) -> list[Any]:
    """Returns the value as Plainloop's reader and as the repair of a project read it."""
    found = [load(path), load_objects(path, is_strict=False, where="mine.py:3")]
    assert all(item["state_dict"]["w"].tolist() == [1, 1] for item in found)
    return [item["value"] for item in found]


PLAIN = {
    "defaultdict": defaultdict(list, {"a": [1]}),
    "OrderedDict": OrderedDict(b=1, a=2),
    "Counter": Counter("hello"),
    "deque": deque([1, 2], maxlen=3),
    "sets": [{1, 2}, frozenset("ab")],
    "dates": [
        datetime.datetime(2019, 5, 2, 1, tzinfo=datetime.UTC),
        datetime.date(2018, 3, 13),
        datetime.time(1, 2),
        datetime.timedelta(3),
    ],
    "numbers": [1 + 2j, b"bytes", bytearray(b"more")],
    "namespace": argparse.Namespace(lr=0.1, layers=[1, 2]),
    "torch": [torch.Size([1, 2]), torch.float16, torch.nn.Parameter(torch.ones(1))],
}


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("name", PLAIN)
def test_plain_values_are_read_as_they_are(tmp_path: Path, name: str, legacy: bool) -> None:
    path = tmp_path / "a.pth"
    options = {"_use_new_zipfile_serialization": not legacy}
    save(path, [PLAIN[name], argparse.Namespace()], **options)  # torch refuses the latter
    for value, _ in read_both(path):
        assert repr(value) == repr(PLAIN[name])
        assert type(value) is type(PLAIN[name])


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6.0).reshape(2, 3),
        np.asfortranarray(np.arange(6).reshape(2, 3)),
        np.array(["a", "bc"]),
        np.array([True]),
        np.array([{"a": 1}, None], dtype=object),
    ],
    ids=lambda array: str(array.dtype),
)
def test_arrays_are_read(tmp_path: Path, array: Any) -> None:
    for value in read_both(save(tmp_path / "a.pth", array)):
        assert isinstance(value, np.ndarray)
        assert (value.dtype, value.tolist()) == (array.dtype, array.tolist())
        assert type(pickle.loads(pickle.dumps(value))) is np.ndarray


def test_objects_of_imported_classes_get_their_methods(words: Any, tmp_path: Path) -> None:
    value = [words.Words("abc"), words.Options(3), words.Pair(1, [2])]
    path = save(tmp_path / "a.pth", value)
    words.LOG.clear()
    for vocabulary, options, pair in read_both(path):
        assert type(vocabulary) is words.Words
        assert (vocabulary.encode("c"), vocabulary.encode("new")) == (2, 0)
        assert options == words.Options(3)
        assert (type(pair), pair.right) == (words.Pair, [2])
    assert words.LOG == []


def test_objects_of_other_classes_are_their_data(words: Any, tmp_path: Path) -> None:
    settings = words.Settings(lr=0.1)
    settings.depth = 2
    path = save(tmp_path / "a.pth", [words.Words("abc"), words.Pair(1, 2), settings])
    del sys.modules["words"]
    for vocabulary, pair, options in read_both(path):
        assert vocabulary.index["c"] == 2
        assert pair == (1, 2)
        assert (options["lr"], options.lr, options.depth) == (0.1, 0.1, 2)
        assert dict(options) == {"lr": 0.1}
        assert not hasattr(vocabulary, "encode")
    message = (
        r"mine.py:3: of `words.Words` in this checkpoint, only the data was read: it has no "
        r"`encode`; .*weights_only=False there, which runs any code"
    )
    with pytest.raises(RefusedObjectError, match=message) as refused:
        vocabulary.encode("a")
    assert "\n" not in str(refused.value)
    with pytest.raises(RefusedObjectError, match=r"`words.nought` .* a missing key"):
        vocabulary.index["new"]


def test_the_data_of_an_object_is_saved_again(words: Any, tmp_path: Path) -> None:
    path = save(tmp_path / "a.pth", [words.Words("abc"), words.Settings(lr=0.1)])
    del sys.modules["words"]
    for _ in range(2):
        vocabulary, settings = read_both(path)[1]
        vocabulary.index = dict(vocabulary.index)
        save(path, [vocabulary, settings])
    assert (vocabulary.index["c"], settings["lr"]) == (2, 0.1)


@pytest.mark.parametrize("name", ["Restoring", "Ending", "Hashed", "Made"])
def test_a_class_that_could_run_code_while_it_is_read_is_not_used(
    words: Any, tmp_path: Path, name: str
) -> None:
    kind = vars(words)[name]
    value = object.__new__(kind)
    vars(value)["index"] = {}
    path = save(tmp_path / "a.pth", [value, {1: 2}])
    del value
    words.LOG.clear()
    for found, _ in read_both(path):
        assert type(found) is not kind
        assert found.index == {}
    assert words.LOG == []


def test_a_class_outside_of_the_project_is_not_used(words: Any, tmp_path: Path) -> None:
    path = save(tmp_path / "a.pth", words.Words("abc"))
    words.__file__ = str(tmp_path / "words.py")
    assert [type(value) is words.Words for value in read_both(path)] == [False, False]


@pytest.mark.parametrize("factory", ["words.write", "os.system", "builtins.exec", "words.Words"])
def test_a_factory_that_is_not_harmless_never_runs(
    words: Any, tmp_path: Path, factory: str
) -> None:
    path = tmp_path / "a.pth"
    unmade = Global(*factory.rsplit(".", 1))
    pair = Global("collections", "defaultdict", NameOnly(unmade))
    torch.save({"state_dict": {"w": torch.ones(2)}, "value": pair}, path, pickle_module=NAMES)
    for value in read_both(path):
        with pytest.raises(RefusedObjectError, match="a missing key"):
            value["new"]
    assert words.LOG == []


class NameOnly:
    """Pickles as a name that is not called."""

    def __init__(self, name: Global) -> None:
        self.name = name


class NamePickler(HOSTILE.Pickler):
    def save(self, obj: Any, save_persistent_id: bool = True) -> None:
        if isinstance(obj, NameOnly):
            self.write(f"c{obj.name.module}\n{obj.name.name}\n".encode())
        else:
            super().save(obj, save_persistent_id)


NAMES: Any = types.ModuleType("name_pickle")
NAMES.Pickler = NamePickler
NAMES.dump = lambda obj, file, protocol: NamePickler(file, protocol).dump(obj)


def test_plainloops_reader_refuses_calls_and_names_them(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    value = [argparse.Namespace(), Call(os.system, f"touch {marker}")]
    path = save(tmp_path / "a.pth", value)
    with pytest.raises(UserError, match=r"more than tensors and plain values: (posix|nt)\.system$"):
        load(path)
    data = load_objects(path, is_strict=False)["value"][1]
    assert data.arguments == (f"touch {marker}",)
    assert not marker.exists()
