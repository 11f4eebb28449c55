"""What a run keeps in its folder is found there when it is resumed or tested."""

from __future__ import annotations

from pathlib import Path

import pytest

from utils.errors import UserError
from utils.run_files import find_kept, keep, set_run_folders


@pytest.fixture(autouse=True)
def _no_run() -> object:
    yield
    set_run_folders(None, None)


def write(folder: Path) -> None:
    (folder / "words.txt").write_text("kept")


def test_without_a_run_nothing_is_kept(tmp_path: Path) -> None:
    keep("words", write)
    assert find_kept("words") is None
    assert list(tmp_path.iterdir()) == []


def test_a_new_run_replaces_what_a_failed_one_has_left(tmp_path: Path) -> None:
    (tmp_path / "words").mkdir()
    set_run_folders(tmp_path, None)
    assert find_kept("words") is None
    keep("words", write)
    assert find_kept("words") == tmp_path / "words"
    assert [path.name for path in tmp_path.iterdir()] == ["words"]


def test_a_resumed_run_in_another_folder_gets_a_copy(tmp_path: Path) -> None:
    set_run_folders(tmp_path / "first", None)
    keep("words", write)
    set_run_folders(tmp_path / "second", tmp_path / "first" / "model_best.pt")
    assert find_kept("words") == tmp_path / "first" / "words"
    assert (tmp_path / "second" / "words" / "words.txt").read_text() == "kept"


def test_a_checkpoint_without_what_its_run_kept_is_refused(tmp_path: Path) -> None:
    set_run_folders(None, tmp_path / "model_best.pt")
    with pytest.raises(UserError, match="words is missing, with which the run was trained"):
        find_kept("words")
