"""The classes of a dataset, and whether two datasets have the same ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from utils.batch import TARGET_KEYS
from utils.errors import UserError

MAX_DEPTH = 20  # of datasets inside datasets
NO_CLASSES = ("__MACOSX", "__pycache__")  # folders that programs leave behind
SHOWN = 5


def find_classes(dataset: Any, key: str = "data_loader") -> dict[str, int] | None:
    """The label of each class by its name, from ``class_to_idx`` or ``classes`` of a dataset.

    Args:
        dataset: the dataset, which may be inside others, as in torch's ``Subset``.
        key: the config key, for the error.

    Returns:
        The labels; None if the dataset names no classes.

    Raises:
        UserError: a hidden folder is a class, or the datasets in the dataset differ.
    """
    found = list(_list_all(dataset, MAX_DEPTH))
    for classes in found:
        if hidden := [name for name in classes if name.startswith(".") or name in NO_CLASSES]:
            message = f"the folder {hidden[0]} is taken for a class; delete it, or move it away"
            raise UserError(message, key=key)
        check_same_classes(found[0], classes, key, "of its first dataset")
    return found[0] if found else None


def list_labels(loader: Any) -> list[str]:
    """The names of the classes in a loader's dataset, by label; empty if it names none."""
    from base.data.fitting import find_dataset

    classes = find_classes(find_dataset(loader)) or {}
    names = {label: name for name, label in classes.items()}
    is_complete = sorted(names) == list(range(len(names))) and all(map(str.isprintable, classes))
    return [names[label] for label in range(len(names))] if is_complete else []


def check_same_classes(
    expected: Mapping[str, int] | None, found: Mapping[str, int] | None, key: str, owner: str
) -> None:
    """Raises UserError if both are known, and a class is missing or has another label."""
    if not expected or not found or dict(expected) == dict(found):
        return
    differences = [f"{name} is missing" for name in expected if name not in found]
    differences += [f"{name} is new" for name in found if name not in expected]
    differences += [
        f"{name} has the label {found[name]} instead of {label}"
        for name, label in expected.items()
        if found.get(name, label) != label
    ]
    more = f", and {len(differences) - SHOWN} more" if len(differences) > SHOWN else ""
    raise UserError(
        f"its classes differ from those {owner}: {', '.join(differences[:SHOWN])}{more}. "
        "Labels must mean the same in both; an ImageFolder takes an empty folder for a class "
        "without samples, with allow_empty: true",
        key=key,
    )


def _list_all(dataset: Any, depth: int) -> Iterator[dict[str, int]]:
    classes = _read_labels(_get(dataset, "class_to_idx")) or _read_names(_get(dataset, "classes"))
    classes = classes or _read_features(_get(dataset, "features"))
    if classes:
        yield classes
    elif depth > 0:
        several = _get(dataset, "datasets")
        inner = several if isinstance(several, list | tuple) else _list_inner(dataset)
        for item in inner:
            yield from _list_all(item, depth - 1)


def _read_labels(labels: Any) -> dict[str, int]:
    """The label of each class in a ``class_to_idx``; empty if the labels are no numbers."""
    if not isinstance(labels, Mapping):
        return {}
    try:
        return {str(name): int(label) for name, label in labels.items()}
    except (TypeError, ValueError, RuntimeError):  # texts or vectors
        return {}


def _read_names(names: Any) -> dict[str, int]:
    """The label of each class in ``classes``: names in order, or a name for each label."""
    if isinstance(names, Mapping):
        pairs = _read_labels({name: label for label, name in names.items()})
        return pairs or _read_labels(names)
    if isinstance(names, np.ndarray) and names.ndim == 1:
        names = names.tolist()
    is_ordered = isinstance(names, list | tuple)
    return {str(name): label for label, name in enumerate(names)} if is_ordered else {}


def _read_features(features: Any) -> dict[str, int]:
    """The label of each class in the target column of HuggingFace's ``features``."""
    if not isinstance(features, Mapping):
        return {}
    columns = [features[name] for name in TARGET_KEYS if name in features]
    return _read_names(getattr(columns[0], "names", None)) if columns else {}


def _list_inner(dataset: Any) -> list[Any]:
    """The dataset inside a wrapper: its ``dataset``, or else the only attribute that is one."""
    inner = _get(dataset, "dataset")
    if inner is not None:
        return [inner]
    found = [v for v in getattr(dataset, "__dict__", {}).values() if isinstance(v, Dataset)]
    return found if len(found) == 1 else []


def _get(dataset: Any, name: str) -> Any:
    """An attribute of a user's dataset; None if there is none, or if it fails."""
    try:
        return getattr(dataset, name, None)
    except Exception:
        return None
