"""Arguments that do not fit a stream are found before a run."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from config.check.streams import REFUSED, check_streams
from tests.base.data.streams import Plain


def test_arguments_that_need_indices_are_refused_beside_a_stream() -> None:
    args = {"dataset": {"type": "x"}, "shuffle": True, "cache": True, "validation_split": 0}
    found: list[Any] = []
    checker: Any = SimpleNamespace(
        resolved={("data_loader", "args", "dataset"): Plain, ("arch",): dict},
        tree=SimpleNamespace(data={"data_loader": {"args": args}}),
        fail=lambda keys, message: found.append((keys, message)),
    )
    check_streams(checker)
    assert found == [
        (("data_loader", "args", name), f"Plain is a stream, which {REFUSED[name]}")
        for name in ("shuffle", "cache")
    ]
