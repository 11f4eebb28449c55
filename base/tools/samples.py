"""What a loader tells of its samples beside the batches: classes, files, pictures."""

from __future__ import annotations

from typing import Any

from torch.utils.data import SequentialSampler

from base.tools.pictures import Image, to_picture
from utils.batch import split_target


class Samples:
    """The samples behind a loader; whatever cannot be known is None.

    Args:
        loader: any; one of torch's own in a fixed order tells what ours does.

    Attributes:
        dataset: the loader's.
        inner: the dataset inside subsets of it.
        batch_transform: of whole batches, by the loader.
        classes: their names.
    """

    def __init__(self, loader: Any) -> None:
        self.loader = getattr(loader, "loader", loader)  # behind inf_loop
        self.dataset = getattr(self.loader, "dataset", None)
        self.inner = self._inner(0)[0]
        classes = getattr(self.inner, "classes", None)
        self.classes = (
            [str(name) for name in classes] if isinstance(classes, list | tuple) else None
        )
        self.batch_transform = getattr(self.loader, "batch_transform", None)
        self._mean, self._std = normalisation(
            self.batch_transform or getattr(self.inner, "transform", None)
        )

    def order(self) -> list[list[int]] | None:
        """The index in the dataset of every sample of the pass begun last, batch by batch."""
        if hasattr(self.loader, "indices"):
            return self.loader.indices() or None
        if isinstance(getattr(self.loader, "sampler", None), SequentialSampler):
            return [list(batch) for batch in self.loader.batch_sampler or []]
        return None

    def name(self, label: int) -> str:
        """The name of a class, else its number."""
        return (
            self.classes[label] if self.classes and 0 <= label < len(self.classes) else str(label)
        )

    def path(self, index: int) -> str | None:
        """The file of a sample, as torchvision's folders of images tell it."""
        dataset, index = self._inner(index)
        files = getattr(dataset, "samples", None) or getattr(dataset, "imgs", None)
        try:
            first = files[index][0]  # type: ignore[index]
        except (TypeError, IndexError, KeyError):
            return None
        return first if isinstance(first, str) else None

    def picture(self, values: Any) -> Image | None:
        """A sample's input as it looked before it was normalised; None if it is no picture."""
        try:
            return to_picture(values, self._mean, self._std)
        except (TypeError, ValueError, RuntimeError):
            return None

    def raw(self, index: int) -> Any:
        """The input of a sample as the dataset gives it; None where it does not."""
        try:
            sample = self.dataset[index]  # type: ignore[index]
            return sample[0] if isinstance(sample, tuple | list) else next(iter(sample.values()))
        except Exception:  # a dataset of the user's, asked in a way that it may not know
            return None

    def fetch(self, index: int) -> Any:
        """The input of a sample as the model gets it; None where that cannot be had."""
        if self.batch_transform is None:
            return self.raw(index)
        try:
            return split_target(self.loader.batch_of([index], self.loader.seed))[0][0]
        except Exception:  # as above
            return None

    def _inner(self, index: int) -> tuple[Any, int]:
        """The dataset inside subsets of it, and the sample's index there."""
        dataset: Any = self.dataset
        while hasattr(dataset, "dataset") and hasattr(dataset, "indices"):
            index = int(dataset.indices[index]) if index < len(dataset.indices) else index
            dataset = dataset.dataset
        return dataset, index


def normalisation(transform: Any) -> tuple[Any, Any]:
    """Mean and standard deviation of a ``Normalize`` inside ``transform``; Nones without one."""
    for part in [transform, *reversed(getattr(transform, "transforms", None) or [])]:
        if type(part).__name__ == "Normalize":
            return part.mean, part.std
    return None, None
