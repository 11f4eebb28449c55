"""Optional rooms can be deleted: the folder and its registered lines; the rest still trains."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.forked import run_forked
from tests.helpers import ROOT, copy_project
from utils.project.rooms import ROOMS, remove_room

TRAIN = ["train.py", "-c", "config.json", "--run-id", "run", "trainer.epochs=1"]


@pytest.mark.parametrize("name", ROOMS)
def test_a_project_without_a_room_trains(name: str, tmp_path: Path) -> None:
    project = copy_project(tmp_path / "project")
    remove_room(ROOMS[name], project)
    done = run_forked(*TRAIN, cwd=project)
    assert done.returncode == 0, done.stderr
    assert (project / "saved/digits/run/model_best.pt").is_file()


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project without any optional room, with a run."""
    project = copy_project(tmp_path_factory.mktemp("core") / "project")
    for room in ROOMS.values():
        remove_room(room, project)
    done = run_forked(*TRAIN, cwd=project)
    assert done.returncode == 0, done.stderr
    return project


def test_the_core_tests_and_resumes(core: Path) -> None:
    done = run_forked("test.py", "-r", "saved/digits/run", cwd=core)
    assert done.returncode == 0, done.stderr
    assert "accuracy" in done.stdout
    done = run_forked("train.py", "-r", "saved/digits/run", "trainer.epochs=2", cwd=core)
    assert done.returncode == 0, done.stderr
    assert "epoch 2/2" in done.stdout


@pytest.mark.parametrize(
    ("word", "key"),
    [
        ("trainer.wandb={project: x}", "trainer.wandb"),
        ("trainer.debug={statistics: true}", "trainer.debug"),
        ("trainer.histogram_period=1", "trainer.histogram_period"),
        ("trainer.sharded_checkpoint=true", "trainer.sharded_checkpoint"),
        ("parallel={type: fsdp}", "parallel.type"),
    ],
)
def test_an_option_of_a_deleted_room_is_one_clear_line(core: Path, word: str, key: str) -> None:
    done = run_forked("train.py", "-c", "config.json", "--run-id", "other", word, cwd=core)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert f"{key}: " in line
    assert not (core / "saved/digits/other").exists()


@pytest.mark.parametrize(
    "words",
    [
        ("train.py", "-c", "config.json", "repeat={seeds: 2}"),
        ("train.py", "-c", "config.json", "--check"),
        ("test.py", "-r", "saved/digits"),
    ],
)
def test_a_command_of_a_deleted_room_is_one_clear_line(core: Path, words: tuple[str, ...]) -> None:
    done = run_forked(*words, cwd=core)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "removed this optional folder" in line


def test_the_section_of_a_deleted_room_is_warned_about(core: Path) -> None:
    done = run_forked(
        *TRAIN[:3], "--run-id", "frozen", "trainer.epochs=1", "transfer={freeze: 1}", cwd=core
    )
    assert "Nothing has read these keys of the config: 'transfer'" in done.stdout


def test_an_old_checkpoint_without_its_room_is_one_clear_line(core: Path) -> None:
    """pytorch-template's checkpoints hold the ConfigParser itself."""
    program = (
        "import sys, types, torch\n"
        "module = sys.modules['parse_config'] = types.ModuleType('parse_config')\n"
        "module.ConfigParser = type('ConfigParser', (), {'__module__': 'parse_config'})\n"
        "torch.save({'config': module.ConfigParser(), 'state_dict': {}}, 'old.pth')\n"
    )
    assert run_forked("-c", program, cwd=core).returncode == 0
    done = run_forked("test.py", "-r", "old.pth", "-c", "config.json", cwd=core)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "holds more than tensors and plain values: parse_config.ConfigParser" in line


def test_readme_says_how_many_lines_the_core_has(core: Path) -> None:
    files = [path for path in core.rglob("*.py") if "tests" not in path.relative_to(core).parts]
    count = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in files)
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.search(r"core[^.]*?([\d,]+) lines", text)
    assert found is not None
    assert int(found[1].replace(",", "")) == pytest.approx(count, rel=0.02)
