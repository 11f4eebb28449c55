"""The sources of inputs: picture files, or whatever the dataset reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from base.data.image_file import list_pictures
from base.data.worker import InMemoryDataset
from base.tools.predict.batches import BatchMaker, describe
from base.tools.predict.pictures import PictureReader, is_picture
from base.tools.predict.reading import SIGNATURE
from base.tools.samples import Samples
from utils.errors import UserError, name_error

Entry = tuple[str, Any]  # a name and an input; an exception if it cannot be read


class Source:
    """Inputs with names.

    Attributes:
        column: the title of the names.
        count: the number of inputs; None if it is unknown.
        keeps_size: whether pictures keep their size, although those of the dataset have one.
    """

    column = "name"
    count: int | None = None
    keeps_size: bool = False

    def __iter__(self) -> Iterator[Entry]:
        raise NotImplementedError


class PictureSource(Source):
    """Picture files, read as the dataset reads its own.

    Args:
        path: a picture, or a folder of them.
        samples: of a loader for the model's data, whose inputs are pictures.
        key: of the picture in a sample that is a mapping; None for any other sample.
    """

    column = "path"

    def __init__(self, path: Path, samples: Samples, key: Any = None) -> None:
        try:
            self.paths = list_pictures(path)
        except UserError as error:
            raise UserError(f"--predict {error}") from None
        self.count = len(self.paths)
        self.reader, self.key = PictureReader(samples), key

    def __iter__(self) -> Iterator[Entry]:
        for path in self.paths:
            try:
                picture = self.reader.read(path, self.keeps_size)
            except Exception as error:  # Pillow and the transform may raise anything
                yield str(path), error
            else:
                yield str(path), picture if self.key is None else {self.key: picture}


class DatasetSource(Source):
    """What the method ``read`` of a dataset reads.

    Args:
        path: a file or a folder.
        read: the method; see ``SIGNATURE``. It may yield an exception in place of an input that it
            cannot read, and continue.
        maker: knows the form of an input.
    """

    def __init__(self, path: Path, read: Callable[[Path], Any], maker: BatchMaker) -> None:
        self.path, self.read, self.maker = path, read, maker
        owner = getattr(read, "__self__", maker.dataset)
        self.name = owner.__name__ if isinstance(owner, type) else type(owner).__name__

    def __iter__(self) -> Iterator[Entry]:
        last = None
        entries = self._read()
        while True:
            try:
                entry = next(entries, None)
            except Exception as error:  # the user's method may raise anything
                if last is None:
                    message = f"{self.name} cannot read it: {name_error(error)}"
                    raise UserError(f"--predict {self.path}: {message}") from error
                yield f"everything after {last}", error
                return
            if entry is None:
                return
            name, value = self._check(entry)
            problem = "" if isinstance(value, Exception) else self.maker.compare(value)
            if problem and last is None:
                message = f"{self.name}.read gives an input that is {problem}"
                raise UserError(f"--predict: {message}, which is the form of its samples")
            last = name
            yield name, TypeError(f"the input is {problem}") if problem else value

    def _read(self) -> Iterator[Any]:
        yield from self.read(self.path)

    def _check(self, entry: Any) -> Entry:
        if not isinstance(entry, tuple | list) or len(entry) != 2:
            message = f"yields {describe(entry)}, and not a name with an input: `{SIGNATURE}`"
            raise UserError(f"--predict: {self.name}.read {message}")
        return str(entry[0]), entry[1]


def open_source(path: Path, samples: Samples, maker: BatchMaker) -> Source:
    """Chooses the source. A dataset that has a method ``read`` decides itself.

    Args:
        path: a file or a folder.
        samples, maker: of a loader for the model's data.

    Raises:
        UserError: there is no such file, or nothing can read it.
    """
    if not path.exists():
        raise UserError(f"--predict {path}: there is no such file or folder")
    read = find_read(samples)
    if read is not None:
        return DatasetSource(path, read, maker)
    first, key = maker.first, None
    if isinstance(first, dict) and len(first) == 1:
        ((key, first),) = first.items()
    if is_picture(first):
        return PictureSource(path, samples, key)
    name = type(samples.inner).__name__
    raise UserError(
        f"--predict: the inputs of {name} are not pictures (1 or 3, H, W), so it must read {path} "
        f"itself: give it a method `{SIGNATURE}`, which yields a name and an input, as its samples "
        "have it, without the target"
    )


def find_read(samples: Samples) -> Callable[[Path], Any] | None:
    """The method ``read`` of the dataset, also inside of ``Subset`` and of a cache."""
    found = [samples.dataset, samples.inner]
    if isinstance(samples.inner, InMemoryDataset):
        found.append(getattr(samples.inner, "dataset", None))
    for dataset in found:
        read = getattr(dataset, "read", None)
        if callable(read):
            return read  # type: ignore[no-any-return]
    return None
