"""Generic classes, and other annotations that wrap a type."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Generic, Literal, NamedTuple, TypedDict, TypeVar

import pytest
from torch import nn
from typing_extensions import TypeAliasType

from base.schema import SCHEMA
from config.check.annotations import accepts, convert, describe_annotation
from config.check.json_schema import make_json_schema
from config.check.signature import Signature
from config.check.slots import get_names

T = TypeVar("T")
U = TypeVar("U")
Late = TypeVar("Late", bound="Color")
Pair = TypeAliasType("Pair", tuple[T, T], type_params=(T,))


class Color(enum.Enum):
    RED = "r"


@dataclass
class Box(Generic[T]):
    item: T
    more: list[T] = field(default_factory=list)


@dataclass
class Files(Box[Path]):
    count: int = 0


@dataclass
class Nested(Box[list[T]], Generic[T]):
    other: T | None = None


class Swapped(Box[U], Generic[T, U]):
    """Has the constructor of its parent."""


@dataclass
class Constant:
    folder: Final[Path]


class Row(NamedTuple, Generic[T]):
    first: T


class Keys(TypedDict, Generic[T]):
    first: T


class Reader(Generic[T]):
    def __init__(self, source: T, sizes: list[T] | None = None) -> None:
        self.source, self.sizes = source, sizes


class FileReader(Reader[Path]):
    """Has the constructor of its parent."""


class NamedReader(Reader[Path]):
    def __init__(self, name: Color, **kwargs: Any):
        super().__init__(**kwargs)


@pytest.mark.parametrize(
    ("annotation", "value", "made"),
    [
        (Box[Path], {"item": "a", "more": ["b"]}, Box(Path("a"), [Path("b")])),
        (Box[Path] | None, {"item": "a"}, Box(Path("a"))),
        (list[Box[Color]], [{"item": "RED"}], [Box(Color.RED)]),
        (Box[Box[Path]], {"item": {"item": "a"}}, Box(Box(Path("a")))),
        (Files, {"item": "a"}, Files(Path("a"))),
        (Nested[Path], {"item": ["a"], "other": "b"}, Nested([Path("a")], [], Path("b"))),
        (Swapped[int, Path], {"item": "a"}, Swapped(Path("a"))),
        (Row[Path], ["a"], Row(Path("a"))),
        (Keys[Path], {"first": "a"}, {"first": Path("a")}),
        (Pair[Path], ["a", "b"], (Path("a"), Path("b"))),
        (Late, "RED", Color.RED),
        (Constant, {"folder": "a"}, Constant(Path("a"))),
        (Box, {"item": "a"}, Box("a")),
    ],
)
def test_a_generic_class_is_made_with_the_types_in_its_brackets(
    annotation: Any, value: Any, made: Any
) -> None:
    assert accepts(annotation, value)
    assert convert(annotation, value) == made


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (Box[int], {"item": "a"}),
        (Nested[int], {"item": [1], "other": "b"}),
        (Row[int], ["a"]),
        (Keys[int], {"first": "a"}),
        (Pair[int], [1, "a"]),
        (Late, "GREEN"),
    ],
)
def test_a_value_of_another_type_is_refused(annotation: Any, value: Any) -> None:
    assert not accepts(annotation, value)


def test_a_constructor_has_the_types_that_its_class_gives_a_generic_parent() -> None:
    def read(kind: Any) -> dict[str, Any]:
        parameters = Signature.from_callable(kind).parameters
        return {name: parameter.annotation for name, parameter in parameters.items()}

    assert read(FileReader) == {"source": Path, "sizes": list[Path] | None}
    assert read(NamedReader) == {"source": Path, "sizes": list[Path] | None, "name": Color}


def test_the_choices_of_an_enum_in_a_literal_have_their_names() -> None:
    assert describe_annotation(Literal[Color.RED, "a"]) == "RED | 'a'"


class Holder(nn.Module):
    def __init__(self, numbers: Box[int] | None = None, names: Box[str] | None = None) -> None:
        super().__init__()


def test_the_schema_for_editors_tells_boxes_of_different_types_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import model.model

    monkeypatch.setattr(Holder, "__module__", "model.model")
    for name in ("Box", "Holder"):
        monkeypatch.setattr(model.model, name, globals()[name], raising=False)
    get_names.cache_clear()
    definitions = make_json_schema(SCHEMA)["$defs"]
    get_names.cache_clear()  # other tests have no Holder
    numbers, names = (definitions[f"{__name__}.Box of {kind}"] for kind in ("int", "str"))
    assert numbers["properties"]["item"] != names["properties"]["item"]
