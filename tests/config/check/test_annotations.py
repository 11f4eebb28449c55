"""What a parameter's annotation says about a value."""

from __future__ import annotations

import collections
import collections.abc
from pathlib import Path
from typing import Any, Literal, Optional, Union

import pytest
import torch

from config.check.annotations import accepts, convert, describe_annotation
from tests.config.probe import Color


@pytest.mark.parametrize(
    ("annotation", "value", "fits"),
    [
        (Optional[float], 1, True),  # noqa: UP045  (as older code writes it)
        (Union[int, str], "x", True),  # noqa: UP007
        (Union[int, str], 1.5, False),  # noqa: UP007
        (tuple[int, int], [1, 2], True),
        (tuple[float, ...], [1, 2.5], True),
        (tuple[float, ...], [1, "x"], False),
        (list, [1, "x"], True),
        (collections.abc.Sequence[float], [1, 2], True),
        (collections.abc.Sequence[float], ["a"], False),
        (collections.abc.Sequence[float], "abc", False),
        (collections.abc.Callable[[int], int], "relu", False),
        (list[list[int]], [[1], [2]], True),
        (list[list[int]], [[1], ["x"]], False),
        (set[int], [1], True),
        (torch.Tensor, [1.0, 2.0], False),
        (int, [1], False),
        (dict[str, int], {"a": 1}, True),
        (int, {}, False),
        (type(None), None, True),
        ("SomeName", 5, True),  # fits, as it cannot be decided
        (object, 5, True),
    ],
    ids=repr,
)
def test_whether_a_value_fits_an_annotation(annotation: Any, value: Any, fits: bool) -> None:
    assert accepts(annotation, value) is fits


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (int, "int"),
        (int | None, "int | None"),
        (list[int], "list[int]"),
        (Literal["a", 1], "'a' | 1"),
        (Color, "RED | BLUE"),
        (Optional[int], "Optional[int]"),  # noqa: UP045
    ],
)
def test_annotations_are_described_as_people_write_them(annotation: Any, text: str) -> None:
    assert describe_annotation(annotation) == text


@pytest.mark.parametrize(
    ("annotation", "value", "converted"),
    [
        (Color, "BLUE", Color.BLUE),
        (Color | None, "r", Color.RED),
        (torch.dtype, "int64", torch.int64),
        (torch.dtype | None, None, None),
        (Path, "a/b", Path("a/b")),
        (Path | str, "a/b", "a/b"),  # text is fine
        (str, "float32", "float32"),
        (list[torch.dtype], ["int64", "torch.float32"], [torch.int64, torch.float32]),
        (tuple[Path, ...], ["a", "b"], (Path("a"), Path("b"))),
        (tuple[Path, int], ["a", 1], (Path("a"), 1)),
        (set[int], [1, 2], {1, 2}),
        (list[int] | tuple[int, ...], [1], [1]),  # as it is
        (collections.OrderedDict[str, int], {"a": 1}, collections.OrderedDict(a=1)),
        (dict[int | str, int], {"0": 1, "a": 2}, {0: 1, "a": 2}),
        (collections.deque[int], [1], collections.deque([1])),
        (torch.device, "cpu", torch.device("cpu")),
        (list, ["a"], ["a"]),
        (float, 1, 1),
    ],
    ids=repr,
)
def test_a_name_is_converted_to_what_it_names(annotation: Any, value: Any, converted: Any) -> None:
    got = convert(annotation, value)
    assert (got, type(got)) == (converted, type(converted))
