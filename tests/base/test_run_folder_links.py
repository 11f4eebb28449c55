"""No symbolic link leads what a run writes out of its folder."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import train
from base.run import RunFolder
from config import ConfigParser
from logger.metrics_file import MetricsFile
from tests.base.run_folders import restored_root_logger
from tests.helpers import ROOT, parsed, small_config
from utils.errors import UserError
from utils.main import run_main

IN_THE_RUN = ["log", "log/info.log", "log/metrics.jsonl"]
IN_SAVE_DIR = ["small", "small/run", *(f"small/run/{name}" for name in IN_THE_RUN)]


@pytest.fixture(autouse=True)
def _root_logger() -> Iterator[None]:
    with restored_root_logger():
        yield


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A save_dir with another run in it."""
    other = tmp_path / "saved" / "other" / "run" / "log"
    other.mkdir(parents=True)
    (other / "info.log").write_text("kept")
    return tmp_path / "saved"


def link(path: Path, target: Path) -> None:
    """Puts a link to ``target`` at ``path``: to a file if the path has a suffix, else a folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text("kept") if path.suffix else target.mkdir(exist_ok=True)
    path.symlink_to(target, target_is_directory=not path.suffix)


def resumed(saved: Path) -> Path:
    """A checkpoint to resume from."""
    folder = saved / "small" / "run"
    folder.mkdir(parents=True)
    (folder / "checkpoint-epoch1.pt").touch()
    return folder / "checkpoint-epoch1.pt"


def write(saved: Path, resume: Path | None = None) -> None:
    """Writes what a run writes."""
    config = ConfigParser(small_config(saved), resume=resume, run_id=None if resume else "run")
    with RunFolder(config) as folder:
        folder.describe()
        logging.getLogger("probe").warning("written")
        MetricsFile(config.log_dir / "metrics.jsonl").write({"loss": 1.0})


def contents(folder: Path) -> dict[str, Any]:
    paths = sorted(folder.rglob("*"))
    return {str(path.relative_to(folder)): path.is_file() and path.read_bytes() for path in paths}


def refusal(*args: Any) -> str:
    with pytest.raises(UserError) as caught:
        write(*args)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


@pytest.mark.parametrize("name", IN_SAVE_DIR)
def test_a_link_that_leads_out_is_refused(saved: Path, tmp_path: Path, name: str) -> None:
    target = tmp_path / "elsewhere" / "target"
    link(saved / name, target)
    before = contents(tmp_path)
    assert f"{saved / name}: is a symbolic link that leads out of " in refusal(saved)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("name", IN_THE_RUN)
def test_a_link_that_leads_out_of_a_resumed_run_is_refused(
    saved: Path, tmp_path: Path, name: str
) -> None:
    resume, target = resumed(saved), tmp_path / "elsewhere" / "target"
    link(resume.parent / name, target)
    before = contents(tmp_path)
    assert f"{resume.parent / name}: is a symbolic link that leads out of " in refusal(
        saved, resume
    )
    assert contents(tmp_path) == before


@pytest.mark.parametrize("name", IN_SAVE_DIR)
def test_a_dangling_link_that_leads_out_is_refused(saved: Path, tmp_path: Path, name: str) -> None:
    (saved / name).parent.mkdir(parents=True, exist_ok=True)
    (saved / name).symlink_to(tmp_path / "nowhere")
    assert f"{saved / name}: is a symbolic link that leads out of " in refusal(saved)
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("name", ["small", "small/run"])
def test_a_relative_link_that_climbs_out_is_refused(saved: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "elsewhere").mkdir()
    (saved / name).parent.mkdir(parents=True, exist_ok=True)
    (saved / name).symlink_to(Path(*[".."] * (name.count("/") + 1), "elsewhere"))
    assert "is a symbolic link that leads out" in refusal(saved)
    assert contents(tmp_path / "elsewhere") == {}


def test_a_link_through_another_link_is_refused(saved: Path, tmp_path: Path) -> None:
    link(saved / "other" / "way", tmp_path / "elsewhere")
    (saved / "small").symlink_to(saved / "other" / "way")
    assert "is a symbolic link that leads out" in refusal(saved)
    assert contents(tmp_path / "elsewhere") == {}


def test_a_folder_with_a_similar_name_is_outside(saved: Path, tmp_path: Path) -> None:
    link(saved / "small", tmp_path / "saved-not")
    assert "is a symbolic link that leads out" in refusal(saved)


@pytest.mark.parametrize("name", IN_SAVE_DIR)
def test_a_link_that_stays_inside_is_fine(saved: Path, name: str) -> None:
    target = (
        saved / "small" / "run" / "other" if name.startswith("small/run/") else saved / "target"
    )
    link(saved / name, target)
    write(saved)
    assert (saved / name).is_symlink()
    assert "written" in (saved / "small/run/log/info.log").read_text()
    assert (saved / "small/run/log/metrics.jsonl").read_text().count("loss") == 1
    assert (saved / "other/run/log/info.log").read_text() == "kept"


def test_save_dir_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "large_disk").mkdir()
    (tmp_path / "saved").symlink_to(tmp_path / "large_disk")
    write(tmp_path / "saved")
    resume = tmp_path / "saved/small/run/checkpoint-epoch1.pt"
    resume.touch()
    write(tmp_path / "saved", resume)
    assert (tmp_path / "large_disk/small/run/log/info.log").read_text().count("written") == 2


def test_a_link_is_refused_by_the_program_too(
    saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    link(saved / "digits" / "run" / "log", tmp_path / "elsewhere")
    words = ["--config", ROOT / "config/config.json", "--run-id", "run", "--device", "cpu"]
    config = parsed(*words, f"trainer.save_dir={saved}", "trainer.epochs=1")
    with pytest.raises(SystemExit) as end:
        run_main(lambda: train.main(config, None))
    (line,) = capsys.readouterr().err.splitlines()
    assert end.value.code == 2
    assert f"{saved / 'digits/run/log'}: is a symbolic link that leads out of" in line
    assert contents(tmp_path / "elsewhere") == {}


@pytest.mark.parametrize(("name", "passes"), [("debug-core.log", True), ("other.log", False)])
def test_the_link_that_wandb_leaves_is_accepted(
    saved: Path, tmp_path: Path, name: str, passes: bool
) -> None:
    checkpoint = resumed(saved)
    link(
        checkpoint.parent / "log" / "wandb" / "offline-run-1" / "logs" / name,
        tmp_path / "cache" / "core.log",
    )
    if passes:
        write(saved, checkpoint)
        return
    with pytest.raises(UserError, match="leads out of"):
        write(saved, checkpoint)
