"""What is said when a dataset cannot be downloaded, and what is left behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from utils.download import downloading
from utils.errors import UserError


class Digits:
    """As torchvision's MNIST tells its files."""

    mirrors = ("https://one.org/", "https://two.org/")
    resources = (("images.gz", "md5"), ("labels.gz", "md5"))


class Photos:
    """As torchvision's CIFAR10 tells its file."""

    url = "https://one.org/photos.tar.gz"


class Sounds:
    pass


def told(dataset: Any, root: Path, error: Exception, *made: Path) -> str:
    def download() -> None:
        with downloading(dataset, root):
            for folder in made:
                folder.mkdir(parents=True)
            raise error

    with pytest.raises(UserError) as caught:
        download()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("dataset", "hint"),
    [
        (Digits, "put images.gz, labels.gz from https://one.org/ into {root}/Digits/raw"),
        (Photos, "put https://one.org/photos.tar.gz into {root}"),
        (Sounds, "put its files into {root}"),
    ],
)
def test_a_failed_download_tells_what_to_put_where(tmp_path: Path, dataset: Any, hint: str) -> None:
    message = told(dataset, tmp_path / "data", OSError("no route to\nhost"))
    assert hint.format(root=tmp_path / "data") in message
    assert message.endswith("(no route to host)")


@pytest.mark.parametrize(("dataset", "made"), [(Digits, "data/Digits/raw"), (Photos, "data")])
def test_the_empty_folders_that_a_failed_download_made_are_taken_away(
    tmp_path: Path, dataset: Any, made: str
) -> None:
    (tmp_path / "notes.txt").touch()
    told(dataset, tmp_path / "data", RuntimeError("no"), tmp_path / made)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_files_that_were_there_stay(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "other.bin").touch()
    told(Digits, tmp_path / "data", RuntimeError("no"), tmp_path / "data" / "Digits" / "raw")
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["other.bin"]


def test_a_folder_outside_of_the_datasets_stays_even_if_it_is_empty(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    told(Photos, tmp_path / "mine" / "data", RuntimeError("no"), tmp_path / "mine" / "data")
    assert (tmp_path / "mine").is_dir()


def test_any_other_error_is_not_touched(tmp_path: Path) -> None:
    with pytest.raises(KeyError), downloading(Digits, tmp_path):
        raise KeyError("a bug")
