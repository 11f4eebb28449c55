"""The command ``python -m utils.upgrade``, with a small framework in three versions."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import asdict
from pathlib import Path

import pytest
from invented import commit_all, read_files
from small_framework import MODEL, make_framework, make_project_of

from tests.forked import run_forked
from utils.project.git import Git
from utils.project.record import Record


@pytest.fixture(scope="module")
def framework(tmp_path_factory: pytest.TempPathFactory) -> Git:
    return make_framework(tmp_path_factory.mktemp("framework") / "plainloop")


@pytest.fixture
def project(framework: Git, tmp_path: Path) -> Git:
    return make_project_of(framework, tmp_path / "mine")


def edit_model(project: Git, old: str, new: str) -> None:
    path = project.folder / "model/model.py"
    path.write_text(path.read_text().replace(old, new))
    commit_all(project.folder)


def run(project: Git, *words: str | Path) -> subprocess.CompletedProcess[str]:
    env = {"PYTHONDONTWRITEBYTECODE": "1"}
    return run_forked("-m", "utils.upgrade", *words, cwd=project.folder, env=env)


def get_state(project: Git) -> tuple[dict[str, bytes], str, str]:
    status = project.read("status", "--porcelain")
    return read_files(project.folder), project.read("for-each-ref"), status


def test_an_upgrade_merges_checks_and_reports(project: Git) -> None:
    edit_model(project, "line_4 = 4", "line_4 = 'mine'")
    (project.folder / "config/mine.yaml").write_text("name: mine\n")
    commit_all(project.folder)
    done = run(project)
    assert (done.returncode, done.stderr) == (0, "")
    expected = MODEL.replace("line_4 = 4", "line_4 = 'mine'").replace("line_7 = 7", "line_7 = 70")
    expected = expected.replace("line_1 = 1", "line_1 = 10")
    assert (project.folder / "model/model.py").read_text() == expected
    assert not (project.folder / "base/old.py").exists()
    assert (project.folder / "config/schema.json").read_text() == '{"new": 1}'
    record = Record.read(project.folder)
    assert (record.version, record.config) == ("0.3.0", "config/config.json")
    assert "Version 0.3.0: now\n\n- Line 1.\n\n## Version 0.2.0: better" in done.stdout
    assert "0.1.0: the first" not in done.stdout
    for words in ("-m config schema", "-c config/mine.yaml --check", "-m utils.verify_resume"):
        assert words in done.stdout
    assert "`git reset --hard plainloop/before-0.3.0` undoes the upgrade" in done.stdout
    project.run("commit", "-q", "--no-edit")
    assert project.read("status", "--porcelain") == ""
    again = run(project)
    assert again.stdout == "The project has the newest version, 0.3.0, already.\n"


def test_check_reports_and_changes_nothing(project: Git) -> None:
    before = get_state(project)
    done = run(project, "--check")
    assert done.returncode == 0
    assert "merged" not in done.stdout
    assert "new       1  base/new.py" in done.stdout
    edit_model(project, "line_1 = 1", "line_1 = 'mine'")
    before = get_state(project)
    done = run(project, "--check")
    assert done.returncode == 3
    assert "- model/model.py: 1 place" in done.stdout
    assert get_state(project) == before


def test_a_framework_with_uncommitted_changes_is_named(
    framework: Git, project: Git, tmp_path: Path
) -> None:
    assert "uncommitted" not in run(project, "--check").stdout
    shutil.copytree(framework.folder, tmp_path / "edited")
    (tmp_path / "edited/base/more.py").write_text("more = 1\n")
    done = run(project, "--check", tmp_path / "edited")
    assert "base/more.py" in done.stdout
    assert "The framework's folder has uncommitted changes; they come along." in done.stdout


def test_a_conflict_is_marked_and_ends_in_status_3(project: Git) -> None:
    edit_model(project, "line_1 = 1", "line_1 = 'mine'")
    done = run(project)
    assert done.returncode == 3
    assert "## Checks" not in done.stdout  # the code cannot run
    text = (project.folder / "model/model.py").read_text()
    assert "<<<<<<< yours\nline_1 = 'mine'\n=======\nline_1 = 10\n" in text
    assert "- Edit model/model.py between the markers" in done.stdout


def test_a_version_can_be_chosen_and_the_next_one_follows(project: Git) -> None:
    edit_model(project, "line_4 = 4", "line_4 = 'mine'")
    assert run(project, "--version", "v0.2.0").returncode == 0
    project.run("commit", "-q", "--no-edit")
    assert Record.read(project.folder).version == "0.2.0"
    edit_model(project, "line_7 = 70", "line_7 = 71")
    assert run(project).returncode == 0
    text = (project.folder / "model/model.py").read_text()
    assert ("line_1 = 10" in text, "line_4 = 'mine'" in text, "line_7 = 71" in text) == (True,) * 3


def test_a_config_that_fails_is_named_and_ends_in_status_3(project: Git) -> None:
    (project.folder / "config/mine.yaml").write_text("broken\n")
    commit_all(project.folder)
    done = run(project)
    assert done.returncode == 3
    assert "config/mine.yaml --check: config/mine.yaml:1:1: is broken" in done.stdout
    assert Record.read(project.folder).version == "0.3.0"


def test_a_room_can_be_added_to_the_newest_version_too(project: Git) -> None:
    assert run(project, "--add-room", "transfer", "--version", "0.1.0").returncode == 0
    assert (project.folder / "base/transfer/freeze.py").is_file()
    record = Record.read(project.folder)
    assert (record.version, record.rooms) == ("0.1.0", ["transfer", "feature-cache"])
    project.run("reset", "-q", "--hard")
    done = run(project, "--add-room", "kitchen")
    assert done.returncode == 2
    assert done.stderr.startswith("--add-room: no room 'kitchen'; there are: transfer, ")


@pytest.mark.parametrize("form", ["folder", "zip", "gztar", "url"])
def test_the_framework_comes_in_several_forms(
    form: str, framework: Git, project: Git, tmp_path: Path
) -> None:
    """An archive has no history: the base comes from the project's git objects."""
    edit_model(project, "line_4 = 4", "line_4 = 'mine'")
    source = f"file://{framework.folder}" if form == "url" else str(framework.folder)
    if form in ("zip", "gztar"):
        shutil.copytree(framework.folder, tmp_path / "unpacked/plainloop-0.3.0")
        shutil.rmtree(tmp_path / "unpacked/plainloop-0.3.0/.git")
        source = shutil.make_archive(str(tmp_path / "release"), form, tmp_path / "unpacked")
    done = run(project, source)
    assert (done.returncode, done.stderr) == (0, "")
    assert "line_4 = 'mine'" in (project.folder / "model/model.py").read_text()
    recorded = Record.read(project.folder).source
    assert recorded == (source if form == "url" else str(framework.folder))


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--version", "9.9"], "--version 9.9: is unknown; the versions are 0.3.0, 0.2.0, 0.1.0"),
        (["/nowhere"], "/nowhere: is neither a folder, an archive nor the URL of a git repository"),
        (["."], ": is this project; give the framework's folder or URL"),
        (["model"], "model: is not a folder of Plainloop: it has no utils/version.py"),
        (["train.py"], "train.py: is no archive that can be read"),
        (["file:///nowhere"], "file:///nowhere: cannot be cloned: "),
        (["--from", "none"], "config 'none': is not in version 0.3.0; choose one by --from; "),
    ],
)
def test_a_mistake_is_one_line_and_changes_nothing(
    words: list[str], line: str, project: Git
) -> None:
    before = get_state(project)
    done = run(project, *words)
    assert (done.returncode, done.stdout) == (2, "")
    (error,) = done.stderr.splitlines()
    assert line in error
    assert get_state(project) == before


def test_a_project_that_cannot_be_upgraded_is_one_line(framework: Git, project: Git) -> None:
    project_record = project.folder / ".plainloop.json"
    (project.folder / "model/model.py").write_text("not committed\n")
    done = run(project)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "not committed, such as model/model.py; commit or stash" in done.stderr
    project.run("reset", "-q", "--hard")
    older = Record.read(project.folder)
    older.version = "0.4.0"
    older.write(project.folder)
    commit_all(project.folder)
    assert "an upgrade goes forward only" in run(project).stderr
    broken = [{"version": 3}, {"files": {"../a.py": "0"}}, {"rooms": "tools"}]
    damaged = [json.dumps(asdict(older) | change) for change in broken]
    for text in ("{", "[]", '{"unknown": 1}', *damaged):
        project_record.write_text(text)
        done = run(project)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert ".plainloop.json: cannot be read" in done.stderr
    project_record.unlink()
    done = run(project)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert ".plainloop.json: is missing" in done.stderr


@pytest.mark.parametrize("has_history", [True, False])
def test_the_base_comes_from_the_framework_if_the_project_has_none(
    has_history: bool, framework: Git, project: Git, tmp_path: Path
) -> None:
    """Such as a project whose history was begun again after an edit."""
    edit_model(project, "line_4 = 4", "line_4 = 'mine'")
    shutil.rmtree(project.folder / ".git")
    project.run("init", "-q")
    project.run("config", "user.name", "Ada")
    project.run("config", "user.email", "ada@example.invalid")
    source = framework.folder
    if not has_history:
        record = Record.read(project.folder)
        record.source, record.commit = "/nowhere", ""
        record.write(project.folder)
        source = tmp_path / "unpacked"
        shutil.copytree(framework.folder, source, ignore=shutil.ignore_patterns(".git"))
    commit_all(project.folder)
    done = run(project, source)
    assert (done.returncode, done.stderr) == (0 if has_history else 3, "")
    text = (project.folder / "model/model.py").read_text()
    assert "line_4 = 'mine'" in text
    assert "line_7 = 70" in text
    assert ("was not found" in done.stdout) is not has_history
