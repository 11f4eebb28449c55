"""The folder of a search or a repetition, and what is left of it after a mistake."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from base.groups.running.group import Group
from base.groups.running.repetition import repeat
from base.groups.running.trials import search
from tests.base.groups.searches import SPACE, write_config
from tests.helpers import parsed
from utils.errors import UserError

SECTIONS: dict[str, Any] = {
    "search": {"space": SPACE, "sampler": "random", "trials": 2},
    "repeat": {"seeds": 2},
}


def read_config(folder: Path, section: str, *words: str) -> Any:
    path = write_config(folder, **{section: SECTIONS[section]})
    return parsed("--config", path, *words)


@pytest.mark.parametrize("section", SECTIONS)
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--run-id", "lr", "--jobs", "0"), "--jobs 0: must be at least 1"),
        (("--run-id", "a/b/c"), "--run-id a/b/c: the folder of a .* has at most 2 words"),
    ],
)
def test_a_mistake_on_the_command_line_leaves_nothing(
    tmp_path: Path, section: str, words: tuple[str, ...], message: str
) -> None:
    config = read_config(tmp_path, section, *words)
    with pytest.raises(UserError, match=message):
        (search if section == "search" else repeat)(config)
    assert not (tmp_path / "saved").exists()


def test_a_folder_stays_if_another_program_has_taken_a_run_in_it(tmp_path: Path) -> None:
    groups = [Group(read_config(tmp_path, "search", "--run-id", "lr"), "search") for _ in range(2)]
    for group in groups:
        group.open()
    lock = groups[1].claim("trial-0")
    assert lock is not None
    with lock:
        groups[0].discard()
        assert groups[1].path.is_file()


def test_a_search_that_was_killed_in_its_check_is_checked_again(tmp_path: Path) -> None:
    group = Group(read_config(tmp_path, "search", "--run-id", "lr"), "search")
    group.open()
    assert not group.has_begun()
    lock = group.claim("trial-0")
    assert lock is not None
    lock.close()
    assert group.has_begun()


@pytest.mark.parametrize("name", ["small/a name with spaces", "elsewhere/lr"])
def test_a_folder_that_cannot_hold_runs_is_refused_before_the_first_trial(
    tmp_path: Path, name: str
) -> None:
    config = read_config(tmp_path, "search")
    config.group = tmp_path / name
    with pytest.raises(UserError, match=name):
        Group(config, "search").open()
    assert not config.group.exists()
