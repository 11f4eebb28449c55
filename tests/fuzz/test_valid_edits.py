"""No valid edit of a shipped config is refused, in any form that a user may write it in.

``FUZZ=all`` runs all edits.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import NamedTuple

import pytest

from base.schema import SCHEMA
from config import ConfigParser
from tests.fuzz.components import get_base_configs
from tests.fuzz.edits import make_edited
from tests.fuzz.render import render
from tests.fuzz.valid_values import Config
from tests.helpers import make_trainer
from utils.errors import UserError

ALL = os.environ.get("FUZZ") == "all"
NUM_EDITS = 500 if ALL else 80
NUM_BUILDS = 12 if ALL else 4
FORMS = ("json", "yaml", "extends", "overrides")
DOWNLOADED = ("CIFAR10", "Mnist", "photos.")  # in the name of a data loader or dataset


class Edit(NamedTuple):
    """A valid config: its values, and the files and overrides that express them."""

    data: Config
    is_buildable: bool
    files: dict[str, str]
    words: list[str]


def make_edits(count: int, seed: int = 1) -> Iterator[Edit]:
    rng = Random(seed)
    originals = list(get_base_configs().values())
    for number in range(count):
        original = originals[number % len(originals)]
        form = FORMS[number // len(originals) % len(FORMS)]
        data, is_buildable = make_edited(original, rng)
        suffix, compact = rng.choice([".json", ".yaml"]), rng.random() < 0.5
        files, words = {"main.json": render(original, ".json", compact).text}, []
        if form == "overrides":
            words = list(list_overrides(original, data))
        elif form == "extends":
            child = {"extends": f"base{suffix}", **get_difference(original, data)}
            files = {
                f"base{suffix}": render(original, suffix, compact).text,
                "main.yaml": render(child, ".yaml", not compact).text,
            }
        else:
            files = {f"main.{form}": render(data, f".{form}", compact).text}
        is_downloaded = any(name in str(data) for name in DOWNLOADED)
        # The new head of the transfer config has the two classes of the photographs.
        is_other_data = "transfer" in data and "photos." not in str(data)
        yield Edit(data, is_buildable and not is_downloaded and not is_other_data, files, words)


def get_difference(old: Config, new: Config) -> Config:
    """Returns the values of a config that extends ``old`` and means ``new``."""
    difference: Config = {f"~{key}": None for key in old if key not in new}
    for key, value in new.items():
        is_section = isinstance(value, dict) and value and isinstance(old.get(key), dict)
        if key not in old or (value != old[key] and not is_section):
            difference[key] = value
        elif value != old[key]:
            difference[key] = get_difference(old[key], value)
    return difference


def list_overrides(old: Config, new: Config, above: str = "") -> Iterator[str]:
    """Yields the overrides that turn ``old`` into ``new``."""
    for key, value in get_difference(old, new).items():
        if key.startswith("~"):
            yield f"~{above}{key[1:]}"
        elif key in old and isinstance(old[key], dict) and isinstance(value, dict) and new[key]:
            yield from list_overrides(old[key], new[key], f"{above}{key}.")
        else:
            yield f"{above}{key}={json.dumps(value)}"


def get_main_name(edit: Edit) -> str:
    return next(name for name in edit.files if name.startswith("main"))


def read(edit: Edit, folder: Path) -> ConfigParser:
    for name, text in edit.files.items():
        (folder / name).write_text(text, encoding="utf-8")
    main = str(folder / get_main_name(edit))
    args = argparse.Namespace(
        config=main, resume=None, device=None, overrides=edit.words, run_id="run"
    )
    return ConfigParser.from_args(args)


def describe(edit: Edit, problem: object) -> str:
    return "\n".join([str(problem), *edit.words, edit.files[get_main_name(edit)]])


def test_no_valid_edit_is_refused(tmp_path: Path) -> None:
    refused = []
    for edit in make_edits(NUM_EDITS):
        try:
            config = read(edit, tmp_path)
            meant = ConfigParser(copy.deepcopy(edit.data)).plain()
            config.check(SCHEMA)
            if config.plain() != meant:
                refused.append(describe(edit, f"means {config.plain()}\nnot   {meant}"))
        except UserError as error:
            refused.append(describe(edit, error))
        for path in tmp_path.iterdir():
            path.unlink()
    print(f"\n{NUM_EDITS} valid edits, {len(refused)} refused")
    header = f"{len(refused)} of {NUM_EDITS} edits were refused; the first of them:"
    assert not refused, "\n\n".join([header, *refused[:10]])


def test_valid_edits_are_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    buildable = [edit.data for edit in make_edits(NUM_EDITS) if edit.is_buildable]
    for number, data in enumerate(buildable[:: len(buildable) // NUM_BUILDS][:NUM_BUILDS]):
        data["trainer"] |= {"save_dir": "runs", "tensorboard": False}
        try:
            assert make_trainer(data, run_id=f"run{number}").epochs >= 1
        except UserError as error:
            pytest.fail(f"{error}\n{json.dumps(data, indent=2)}")
