"""No valid edit of a shipped config is refused, in whatever form it is written; ``FUZZ=all`` runs all of them."""

from __future__ import annotations

import argparse
import copy
import json
import os
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import pytest

from base.schema import SCHEMA
from config import ConfigParser
from tests.fuzz.edits import Config, edited
from tests.fuzz.known import bases
from tests.fuzz.render import render
from tests.helpers import make_trainer
from utils.errors import UserError

ALL = os.environ.get("FUZZ") == "all"
N_EDITS = 500 if ALL else 80
N_BUILDS = 12 if ALL else 4
FORMS = ("json", "yaml", "extends", "overrides")


class Edit(NamedTuple):
    """A valid config: its values, and the files and words that say them."""

    data: Config
    buildable: bool
    files: dict[str, str]
    words: list[str]


def edits(count: int, seed: int = 1) -> Iterator[Edit]:
    rng = Random(seed)
    originals = list(bases().values())
    for number in range(count):
        original = originals[number % len(originals)]
        form = FORMS[number // len(originals) % len(FORMS)]
        data, buildable = edited(original, rng)
        suffix, compact = rng.choice([".json", ".yaml"]), rng.random() < 0.5
        files, words = {"main.json": render(original, ".json", compact).text}, []
        if form == "overrides":
            words = list(changes(original, data))
        elif form == "extends":
            child = {"extends": f"base{suffix}", **difference(original, data)}
            files = {f"base{suffix}": render(original, suffix, compact).text}
            files |= {"main.yaml": render(child, ".yaml", not compact).text}
        else:
            files = {f"main.{form}": render(data, f".{form}", compact).text}
        downloads = any(data_set in str(data) for data_set in ("CIFAR10", "Mnist", "photos."))
        other_data = "transfer" in data and "photos." not in str(
            data
        )  # the new head has the photographs' two classes
        yield Edit(data, buildable and not downloads and not other_data, files, words)


def difference(old: Config, new: Config) -> Config:
    """What a config that extends ``old`` must say to mean ``new``."""
    gone: Config = {f"~{key}": None for key in old if key not in new}
    for key, value in new.items():
        inner = isinstance(value, dict) and value and isinstance(old.get(key), dict)
        if key not in old or (value != old[key] and not inner):
            gone[key] = value
        elif value != old[key]:
            gone[key] = difference(old[key], value)
    return gone


def changes(old: Config, new: Config, above: str = "") -> Iterator[str]:
    """The overrides that make ``new`` of ``old``."""
    for key, value in difference(old, new).items():
        if key.startswith("~"):
            yield f"~{above}{key[1:]}"
        elif key in old and isinstance(old[key], dict) and isinstance(value, dict) and new[key]:
            yield from changes(old[key], new[key], f"{above}{key}.")
        else:
            yield f"{above}{key}={json.dumps(value)}"


def read(edit: Edit, folder: Path) -> ConfigParser:
    for name, text in edit.files.items():
        (folder / name).write_text(text, encoding="utf-8")
    main = next(str(folder / name) for name in edit.files if name.startswith("main"))
    args = argparse.Namespace(
        config=main, resume=None, device=None, overrides=edit.words, run_id="run"
    )
    return ConfigParser.from_args(args)


def said(edit: Edit, lines: Any) -> str:
    main = [text for name, text in edit.files.items() if name.startswith("main")]
    return "\n".join([str(lines), *edit.words, *main])


def test_no_valid_edit_is_refused(tmp_path: Path) -> None:
    refused = []
    for edit in edits(N_EDITS):
        try:
            config = read(edit, tmp_path)
            meant = ConfigParser(copy.deepcopy(edit.data)).plain()
            config.check(SCHEMA)
            if config.plain() != meant:
                refused.append(said(edit, f"means {config.plain()}\nnot   {meant}"))
        except UserError as error:
            refused.append(said(edit, error))
        for path in tmp_path.iterdir():
            path.unlink()
    print(f"\n{N_EDITS} valid edits, {len(refused)} refused")
    assert not refused, "\n\n".join(
        [f"{len(refused)} of {N_EDITS}, the first of them:", *refused[:10]]
    )


def test_valid_edits_are_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    buildable = [edit.data for edit in edits(N_EDITS) if edit.buildable]
    for number, data in enumerate(buildable[:: len(buildable) // N_BUILDS][:N_BUILDS]):
        data["trainer"] |= {"save_dir": "runs", "tensorboard": False}
        try:
            assert make_trainer(data, run_id=f"run{number}").epochs >= 1
        except UserError as error:
            pytest.fail(f"{error}\n{json.dumps(data, indent=2)}")
