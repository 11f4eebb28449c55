"""What is reported about several optimizers before the model is made."""

from __future__ import annotations

import json
import sys
from typing import Any

import jsonschema
import pytest

from config.check.json_schema import PATH
from tests.config.check.small import CONFIG, find, run_check

MUON = {"params": "layers.*.weight", "type": "Muon", "args": {"lr": 0.02}}
ADAM = {"params": "rest", "type": "AdamW"}


@pytest.mark.parametrize(
    ("optimizers", "reported"),
    [
        ([], ["optimizer: is empty"]),
        ([MUON, ADAM], []),
        ([MUON | {"params": ["a", "!b"]}, ADAM], []),
        ([MUON, {"type": "AdamW"}], ["optimizer.1: needs 'params', patterns for the names of"]),
        (
            [ADAM, ADAM],
            ["optimizer.1.params: 'rest' is taken by optimizer.0; give this optimizer patterns"],
        ),
        ([MUON | {"params": 3}, ADAM], ["optimizer.0.params: wants str | list[str], not 3"]),
        ([MUON | {"params": []}, ADAM], ["optimizer.0.params: is empty"]),
        (
            [MUON | {"params": ["rest", "a"]}, ADAM],
            ["optimizer.0.params: 'rest' cannot be combined with patterns"],
        ),
        (
            [MUON, {"parms": "rest", "type": "AdamW"}],
            ["optimizer.1.parms: unknown key (did you mean 'params'?)"],
        ),
        (
            [MUON | {"args": {"lrr": 1}}, ADAM | {"type": "AdamV"}],
            ["optimizer.0.args.lrr: Muon takes no 'lrr'", "optimizer.1.type: no 'AdamV'"],
        ),
        (["Adam"], ['optimizer.0: must be {"type": NAME, "args": {…}}, not \'Adam\'']),
        (MUON, ["optimizer.params: unknown key"]),
    ],
)
def test_optimizers_are_checked_one_by_one(optimizers: Any, reported: list[str]) -> None:
    if not reported:
        run_check(optimizer=optimizers)
        return
    found = find(optimizer=optimizers)
    assert len(found) == len(reported)
    assert all(line.startswith(start) for line, start in zip(found, reported, strict=True))


@pytest.mark.parametrize(
    ("optimizer", "is_valid"),
    [
        ([MUON, ADAM], True),
        ({"type": "Adam"}, True),
        (MUON, False),
        ([], False),
        ([{"type": "Adam"}], False),
        ([MUON | {"params": 3}], False),
    ],
)
def test_the_json_schema_takes_one_or_a_list(optimizer: Any, is_valid: bool) -> None:
    schema = json.loads(PATH.read_text(encoding="utf-8"))
    validator = jsonschema.Draft202012Validator(schema)
    assert validator.is_valid(CONFIG | {"optimizer": optimizer}) == is_valid


def test_an_optimizer_in_another_folder_or_without_its_library_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (line,) = find(optimizer={"type": "model.model.SmallConvNet"})
    assert "is in model/, and this key takes what is in trainer/ or in a library" in line
    monkeypatch.setitem(sys.modules, "schedulefree", None)  # as if it were not installed
    (line,) = find(optimizer={"type": "schedulefree.AdamWScheduleFree"})
    assert "schedulefree is not installed; 'pip install schedulefree' installs it" in line
