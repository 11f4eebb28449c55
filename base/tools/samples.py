"""Facts about the samples of a loader: classes, files, pictures."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

from torch.utils.data import SequentialSampler

from base.data.fitting import find_dataset
from base.data.loader import DividedLoader, unwrap_loader
from base.loop.box_metric import name_label
from base.tools.pictures import Image, to_picture
from utils.batch import split_target

MAX_CHARS = 400  # of a sample's text


class Samples:
    """The samples of a loader. Unknown facts are None.

    Args:
        loader: of this framework, of torch or of the user.

    Attributes:
        dataset: the loader's.
        inner: the dataset inside ``Subset`` and similar wrappers.
        batch_transform: the loader's transform of whole batches.
        classes: their names.
    """

    def __init__(self, loader: Any) -> None:
        self.loader, self.dataset = unwrap_loader(loader), find_dataset(loader)
        self.inner, _ = self.locate(0)
        classes = getattr(self.inner, "classes", None)
        self.classes: list[str] | None = None
        if isinstance(classes, list | tuple):
            self.classes = [str(name) for name in classes]
        self.batch_transform = getattr(self.loader, "batch_transform", None)
        transform = self.batch_transform or getattr(self.inner, "transform", None)
        self._mean, self._std = find_normalisation(transform)

    def order(self) -> list[list[int]] | None:
        """Returns the dataset's indices in the current or last pass, batch by batch."""
        if isinstance(self.loader, DividedLoader):
            return self.loader.list_batches() or None
        if isinstance(getattr(self.loader, "sampler", None), SequentialSampler):
            return [list(batch) for batch in self.loader.batch_sampler or []]
        return None

    def name(self, label: int) -> str:
        """Returns the name of a class, or its number."""
        return name_label(label, self.classes or ())

    def name_targets(self, count: int) -> list[str]:
        """Returns the ``target_names`` of the dataset, or numbers from 1."""
        names = getattr(self.inner, "target_names", None)
        if isinstance(names, list | tuple) and len(names) == count:
            return [str(name) for name in names]
        return [str(number) for number in range(1, count + 1)]

    def name_numbers(self, shape: Sequence[int]) -> list[str]:
        """Returns a name for each number of a target of this shape, such as (C,) or (H, C)."""
        names = [list(map(str, range(1, size + 1))) for size in shape[:-1]]
        return ["_".join(keys) for keys in product(*names, self.name_targets(shape[-1]))]

    def path(self, index: int) -> str | None:
        """Returns the file of a sample, if the dataset lists files as torchvision's datasets do."""
        dataset, index = self.locate(index)
        files = getattr(dataset, "samples", None) or getattr(dataset, "imgs", None)
        try:
            first = files[index][0]  # type: ignore[index]
        except (TypeError, IndexError, KeyError):
            return None
        return first if isinstance(first, str) else None

    def text(self, index: int) -> str:
        """Returns the text of a sample by ``describe(index)`` of its dataset; empty if it has none.

        Line breaks become spaces, and the rest of a long text is left out.
        """
        dataset, index = self.locate(index)
        describe = getattr(dataset, "describe", None)
        if not callable(describe):
            return ""
        try:
            words = " ".join(str(describe(index)).split())
        except Exception:  # of the user's dataset
            return ""
        return words if len(words) <= MAX_CHARS else f"{words[:MAX_CHARS]} …"

    def picture(self, values: Any) -> Image | None:
        """Returns an input of the model as it looked before its normalisation."""
        try:
            return to_picture(values, self._mean, self._std)
        except (TypeError, ValueError, RuntimeError):
            return None

    def pictures(self, inputs: Sequence[Any]) -> list[Image]:
        """Returns those inputs as pictures that are pictures."""
        candidates = [self.picture(values) for values in inputs]
        return [picture for picture in candidates if picture is not None]

    def raw(self, index: int) -> Any:
        """Returns the input of a sample as the dataset gives it."""
        try:
            sample = self.dataset[index]  # type: ignore[index]
            return sample[0] if isinstance(sample, tuple | list) else next(iter(sample.values()))
        except Exception:  # the user's dataset may not support it
            return None

    def fetch(self, index: int) -> Any:
        """Returns the input of a sample as the model gets it."""
        if self.batch_transform is None:
            return self.raw(index)
        try:
            return split_target(self.loader.read_batch([index], self.loader.seed))[0][0]
        except Exception:  # as above
            return None

    def batch(self, index: int) -> Any:
        """Returns a batch of one sample, as the loader makes it.

        Raises:
            Exception: the user's dataset or loader may not support it.
        """
        if isinstance(self.loader, DividedLoader):
            return self.loader.read_batch([index], self.loader.seed)  # type: ignore[attr-defined]
        return self.loader.collate_fn([self.dataset[index]])  # type: ignore[index]

    def locate(self, index: int) -> tuple[Any, int]:
        """Returns the dataset inside all subsets, and the index of the sample in it."""
        dataset: Any = self.dataset
        while hasattr(dataset, "dataset") and hasattr(dataset, "indices"):
            index = int(dataset.indices[index]) if index < len(dataset.indices) else index
            dataset = dataset.dataset
        return dataset, index


def find_normalisation(transform: Any) -> tuple[Any, Any]:
    """Returns mean and std of the last ``Normalize`` in a transform; None for both without one."""
    for step in [transform, *reversed(getattr(transform, "transforms", None) or [])]:
        if type(step).__name__ == "Normalize":
            return step.mean, step.std
    return None, None
