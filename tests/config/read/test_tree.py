"""Keys, marks and the text of errors."""

from __future__ import annotations

import pytest

from config.read.tree import ConfigError, Finding, Mark, Tree, join_keys, split_keys
from utils.errors import Problem, UserError

MARKS = {
    (): Mark("c.yaml", 1, 1),
    ("trainer",): Mark("c.yaml", 2, 1),
    ("trainer", "epochs"): Mark("c.yaml", 3, 3),
    ("seed",): Mark("seed=x"),
}


def make_tree() -> Tree:
    return Tree({"trainer": {"epochs": 1}, "seed": "x"}, dict(MARKS))


@pytest.mark.parametrize(
    ("key", "keys"),
    [("a", ("a",)), ("thaw.0.epoch", ("thaw", 0, "epoch")), ("a.-1", ("a", "-1")), ("", ())],
)
def test_a_key_is_split_and_joined(key: str, keys: tuple[str | int, ...]) -> None:
    assert split_keys(key) == keys
    assert join_keys(keys) == key


def test_twenty_findings_are_shown_and_the_rest_is_counted() -> None:
    findings = [Finding(Mark("c.json", line, 1), ("a", line), "is wrong") for line in range(1, 24)]
    error = ConfigError(findings)
    lines = str(error).splitlines()
    assert len(lines) == 21
    assert lines[0] == "c.json:1:1: a.1: is wrong"
    assert lines[-1] == "and 3 more"
    assert len(error.findings) == len(error.problems) == 23
    assert error.problems[22] == Problem("a.23", "is wrong")


def test_a_finding_stays_on_one_line_whatever_the_value_holds() -> None:
    message = "wants int, not 'x\ny\x1b[31m'" + "z" * 1000
    text = str(Finding(Mark("c.json", 1, 1), ("a",), message))
    assert len(text) == 500
    assert "\n" not in text
    assert "\x1b" not in text


def test_a_long_override_is_shortened_in_an_error() -> None:
    assert str(Mark("a=" + "x" * 200)) == "a=" + "x" * 117 + "…"
    assert str(Mark("x" * 200)) == "x" * 200  # a file keeps its name


# -- errors from elsewhere -------------------------------------------------------------------------


def test_an_error_gets_the_position_of_its_key() -> None:
    error = make_tree().locate(UserError("7 is too many", key="trainer.epochs"))
    assert isinstance(error, ConfigError)
    assert str(error) == "c.yaml:3:3: trainer.epochs: 7 is too many"


def test_a_key_that_is_not_written_gets_the_position_of_its_section() -> None:
    error = make_tree().locate(UserError("is missing", key="trainer.debug.profile"))
    assert str(error) == "c.yaml:2:1: trainer.debug.profile: is missing"


def test_an_overridden_key_is_located_at_the_override() -> None:
    assert str(make_tree().locate(UserError("is text", key="seed"))) == "seed=x: seed: is text"


def test_every_problem_is_located() -> None:
    problems = [Problem("trainer.epochs", "one"), Problem("nowhere", "two"), Problem("", "three")]
    assert str(make_tree().locate(UserError(problems))).splitlines() == [
        "c.yaml:3:3: trainer.epochs: one",
        "nowhere: two",
        "three",
    ]


@pytest.mark.parametrize(
    "error",
    [
        UserError("saved/x: no such folder"),
        UserError("no such key", key="nowhere"),
        ConfigError.at(None, "is wrong", ("trainer",)),
    ],
    ids=["no key", "a foreign key", "located already"],
)
def test_an_error_without_a_key_of_the_config_stays_as_it_is(error: UserError) -> None:
    assert make_tree().locate(error) is error
