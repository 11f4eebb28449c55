"""The error for a dataset that cannot be downloaded, and the folders that are left behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from utils.download import downloading
from utils.errors import UserError


class Digits:
    """Names its files in the way of torchvision's MNIST."""

    mirrors = ("https://one.org/", "https://two.org/")
    resources = (("images.gz", "md5"), ("labels.gz", "md5"))


class Photos:
    """Names its file in the way of torchvision's CIFAR10."""

    url = "https://one.org/photos.tar.gz"


class Sounds:
    """Names no files."""


def fail(dataset: Any, root: Path, error: Exception, *made: Path) -> str:
    """The text of the error, after a download that has made some folders."""

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
def test_the_error_says_which_files_to_put_where(tmp_path: Path, dataset: Any, hint: str) -> None:
    message = fail(dataset, tmp_path / "data", OSError("no route to\nhost"))
    assert hint.format(root=tmp_path / "data") in message
    assert message.endswith("(no route to host)")


@pytest.mark.parametrize(("dataset", "made"), [(Digits, "data/Digits/raw"), (Photos, "data")])
def test_empty_folders_that_the_download_has_made_are_deleted(
    tmp_path: Path, dataset: Any, made: str
) -> None:
    (tmp_path / "notes.txt").touch()
    fail(dataset, tmp_path / "data", RuntimeError("no"), tmp_path / made)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_existing_files_stay(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "other.bin").touch()
    fail(Digits, tmp_path / "data", RuntimeError("no"), tmp_path / "data" / "Digits" / "raw")
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["other.bin"]


def test_an_empty_folder_around_the_datasets_stays(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    fail(Photos, tmp_path / "mine" / "data", RuntimeError("no"), tmp_path / "mine" / "data")
    assert (tmp_path / "mine").is_dir()


@pytest.mark.parametrize(
    "error", [KeyError("a bug"), ValueError("Unknown value 'valid' for argument split.")]
)
def test_any_other_error_stays_as_it_is(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(type(error)) as caught, downloading(Digits, tmp_path):
        raise error
    assert caught.value is error
