"""A model whose annotations ask for more than JSON can say."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, NewType, TypedDict

from torch import nn

if TYPE_CHECKING:
    from nowhere import Hook  # type: ignore[import-not-found]

Size = NewType("Size", int)


class Color(enum.Enum):
    RED = "r"
    BLUE = 2


@dataclass(frozen=True)
class Crop:
    size: tuple[int, int] = (8, 8)
    color: Color = Color.RED


@dataclass
class Widths:
    hidden: int
    crop: Crop = field(default_factory=Crop)
    by_level: dict[int, Crop] = field(default_factory=dict)
    layer: nn.Module | None = None
    inner: list[Widths] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.hidden < 1:
            raise ValueError("hidden must be at least 1")


class Point(NamedTuple):
    x: int
    y: float = 0.5


class Noise(TypedDict, total=False):
    type: str
    level: float


class Typed(nn.Module):
    def __init__(
        self,
        levels: dict[int, float] | None = None,
        shape: tuple[int, int] = (8, 8),
        pairs: list[tuple[int, str]] | None = None,
        names: frozenset[str] = frozenset(),
        widths: Widths | None = None,
        many: Mapping[str, Widths] | None = None,
        point: Point | None = None,
        noise: Noise | None = None,
        table: dict[str, Any] | None = None,
        layers: dict[str, nn.Module] | None = None,
        either: int | tuple[int, int] = 1,
        mode: Literal["a", 1] = "a",
        size: Size | None = None,
        ratio: Annotated[float, "of width"] = 1.0,
        text: str = "",
        folder: Path | None = None,
        data_dir: str = "",
        plain: Any = None,
        loose=None,
        hook: Callable[[Hook], None] | None = None,
    ) -> None:
        super().__init__()
        self.got = {
            key: value for key, value in locals().items() if key not in ("self", "__class__")
        }
