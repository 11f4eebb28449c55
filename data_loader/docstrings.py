"""Docstrings of installed libraries, a set of texts that every machine has."""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, NamedTuple

from data_loader.text_dataset import TextDataset
from data_loader.tokenizer import NewTokenizer

# The libraries, each with the packages of it that are read.
LIBRARIES = {
    "matplotlib": ("",),
    "numpy": ("",),
    "scipy": ("signal", "stats", "sparse", "interpolate"),
    "sklearn": ("",),
    "torch": ("nn/modules", "nn/utils", "optim", "distributions", "utils/data"),
}
NO_API = re.compile(r"^(_?tests?|testing|externals|extern|.*vendor.*|conftest.*|test_.*)$")
# Words that name the library, of which the class would be known at once.
NAMES = re.compile(
    r"(?i)\b(\w*pytorch\w*|torch\w*|numpy\w*|np|scipy\w*|sklearn\w*|scikit\w*|learn|matplotlib\w*"
    r"|mpl\w*|pyplot|plt)\b"
)
MIN_CHARS, MAX_CHARS = 60, 600  # of a text
KEY_CHARS = 80  # texts that begin with the same letters are taken for copies
FIELDS = {
    "matplotlib": "drawing",
    "numpy": "computing",
    "scipy": "computing",
    "sklearn": "learning",
    "torch": "learning",
}
NUM_SPLITS = 5  # one of them is for validation


class Docstring(NamedTuple):
    """A text, and the library that it is from."""

    text: str
    library: str


class Docstrings(TextDataset):
    """Docstrings of matplotlib, numpy, scipy, scikit-learn and torch.

    The names of the libraries are left out of the texts. Copies, also those with other endings, are
    left out too, or are all on one side of the split. The split depends on the texts only.

    Args:
        training: whether to use four fifths of the docstrings, or the rest.
        label: the class of a text: its library, or the field of that: drawing, computing, learning.
        tokenizer, max_length: as for ``TextDataset``. A new tokenizer is trained on the texts for
            training.
    """

    def __init__(
        self,
        training: bool = True,
        label: Literal["library", "field"] = "library",
        tokenizer: Path | NewTokenizer | None = None,
        max_length: int | None = 64,
    ) -> None:
        found = list_docstrings(training)
        labels = [item.library if label == "library" else FIELDS[item.library] for item in found]
        classes = list(LIBRARIES) if label == "library" else sorted(set(FIELDS.values()))
        texts = [item.text for item in found]
        super().__init__(texts, labels, tokenizer, max_length, classes=classes)

    def list_training_texts(self, tokenizer: Any) -> Iterable[str]:
        if tokenizer.source is not None:
            return super().list_training_texts(tokenizer)
        return [item.text for item in list_docstrings(training=True)]


def list_docstrings(training: bool) -> list[Docstring]:
    """Lists the docstrings of one part."""
    return [item for item in _collect() if _is_for_training(item.text) == training]


def _is_for_training(text: str) -> bool:
    digest = hashlib.sha256(_make_key(text).encode()).digest()
    return digest[0] % NUM_SPLITS != 0


def _make_key(text: str) -> str:
    """What a text shares with its copies: its first letters, without digits and signs."""
    return re.sub(r"[\W\d_]+", "", text.lower())[:KEY_CHARS]


@cache
def _collect() -> list[Docstring]:
    """Reads the docstrings of all libraries, from their files: no code of them runs."""
    found: dict[str, Docstring | None] = {}
    for library, packages in LIBRARIES.items():
        for item in _read_library(library, packages):
            key = _make_key(item.text)
            if len(key) < MIN_CHARS // 2:
                continue
            earlier = found.setdefault(key, item)
            if earlier is not None and earlier[1:] != item[1:]:
                found[key] = None  # in two libraries
    return [item for item in found.values() if item is not None]


def _read_library(library: str, packages: Iterable[str]) -> Iterator[Docstring]:
    spec = find_spec(library)
    assert spec is not None
    assert spec.origin is not None
    root = Path(spec.origin).parent
    for package in packages:
        for path in sorted((root / package).rglob("*.py")):
            if not any(map(NO_API.match, path.relative_to(root).with_suffix("").parts)):
                yield from _read_file(path, library)


def _read_file(path: Path, library: str) -> Iterator[Docstring]:
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, ValueError):  # a template, for example
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            text = NAMES.sub("", ast.get_docstring(node) or "")
            text = " ".join(text.split())[:MAX_CHARS]
            if len(text) >= MIN_CHARS:
                yield Docstring(text, library)
