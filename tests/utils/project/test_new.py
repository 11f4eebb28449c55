"""``python -m utils.new``: a project with one experiment, which passes its tests; or one line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.forked import run_forked
from tests.helpers import ROOT, copy_project
from utils.new import report
from utils.project.first_commit import CREDENTIALS, commit_all
from utils.project.git import Git, open_repository
from utils.project.readmes import write_readme
from utils.project.record import Record, get_blob_id

NEW = ("-m", "utils.new")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of the default experiment."""
    target = tmp_path_factory.mktemp("new") / "mine"
    done = run_forked(*NEW, target)
    assert done.returncode == 0, done.stderr
    assert f"cd {target} && make train" in done.stdout
    return target


def test_it_has_one_experiment_and_no_tests_of_the_framework(project: Path) -> None:
    assert {path.name for path in (project / "config").glob("*.*ml")} == set()
    assert {path.name for path in (project / "config").glob("*.json")} == {
        "config.json",
        "schema.json",
    }
    assert {path.name for path in (project / "model").glob("*.py")} == {
        "__init__.py",
        "loss.py",
        "mlp.py",
        "metric.py",
        "model.py",
    }
    names = {path.name for path in (project / "tests").rglob("*.py")}
    assert names == {"programs.py", "test_configs.py", "test_readme.py", "test_resume.py"}
    assert not (project / "base/transfer").exists()
    assert not (project / "utils/new.py").exists()
    assert (project / "LICENSE.plainloop").read_bytes() == (ROOT / "LICENSE").read_bytes()


def test_everything_is_committed(project: Path) -> None:
    assert Git(project).read("status", "--porcelain") == ""
    assert Git(project).read("rev-list", "--count", "HEAD") == "1"


def test_its_record_has_the_framework_s_files_as_they_were_given(project: Path) -> None:
    record = Record.read(project)
    assert (record.config, record.rooms) == ("config/config.json", ["tools", "upgrades"])
    assert {"README.md", "config/schema.json", ".plainloop.json"} & set(record.files) == set()
    for name, blob_id in record.files.items():
        assert get_blob_id((project / name).read_bytes()) == blob_id
        assert Git(project).read("cat-file", "-t", blob_id) == "blob"


def test_its_two_commands_do_what_its_readme_says(project: Path) -> None:
    text = (project / "Makefile").read_text(encoding="utf-8")
    assert "train.py -c config.json $(ARGS)" in text
    assert (project / "README.md").read_text(encoding="utf-8").startswith("# mine\n")
    words = ("train.py", "-c", "config.json", "trainer.epochs=1", "--run-id", "first")
    done = run_forked(*words, cwd=project)
    assert done.returncode == 0, done.stderr
    # verify_resume, which test_resume.py runs, takes long and has tests of its own.
    tests = ("tests/test_configs.py", "tests/test_readme.py")
    words = ("-m", "pytest", "-n", "0", "-p", "no:cacheprovider", *tests)
    done = run_forked(*words, cwd=project, timeout=300)
    assert done.returncode == 0, done.stdout


def test_its_code_passes_its_checks(project: Path) -> None:
    bin_folder = Path(sys.executable).parent
    for words in (("ruff", "check", "-q", "."), ("ruff", "format", "-q", "--check", ".")):
        subprocess.run([sys.executable, "-m", *words], cwd=project, check=True)
    command = [bin_folder / "lint-imports", "--no-cache"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_a_project_makes_no_other_project(project: Path, tmp_path: Path) -> None:
    framework = copy_project(tmp_path / "framework")
    Record.read(project).write(framework)
    done = run_forked(*NEW, tmp_path / "mine", cwd=framework)
    assert done.returncode == 2
    assert "is a project itself; run the command in the framework's folder: " in done.stderr


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("{}/full",), "{}/full: exists and is not an empty folder; give a new name"),
        (("{}/a/b",), "{}/a/b: the folder {}/a does not exist; create it first"),
        (("{}/link",), "{}/link: exists and is not an empty folder; give a new name"),
        (("mine",), f"mine: is inside the framework; give a folder outside of {ROOT}"),
        (("{}/mine", "--from", "confg.json"), "confg.json: no such config, here or in"),
        (("{}/mine", "--from", "{}/other.json"), f"other.json: is not in the config/ of {ROOT}"),
        (("{}/mine", "--rooms", "transfr"), "no room 'transfr' (did you mean 'transfer'?); there"),
        (
            ("{}/mine", "--rooms", "tools", "--from", "transfer_ants_bees.yaml"),
            "--rooms: config/transfer_ants_bees.yaml needs transfer, feature-cache",
        ),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(
    words: tuple[str, ...], line: str, tmp_path: Path
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full/notes.txt").write_text("mine")
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("empty")
    (tmp_path / "other.json").write_text("{}")
    before = sorted(tmp_path.rglob("*"))
    done = run_forked(*NEW, *(word.replace("{}", str(tmp_path)) for word in words))
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert line.replace("{}", str(tmp_path)) in done.stderr
    assert sorted(tmp_path.rglob("*")) == before
    assert not (ROOT / "mine").exists()


def test_the_report_and_the_readme_have_commands_that_work(tmp_path: Path) -> None:
    record = Record("0.7.0", config="config/config.json", rooms=["tools"])
    lines = report(tmp_path / "my own", record, is_committed=True)
    assert lines[-1] == f"  to test    cd '{tmp_path}/my own' && make test"
    for rooms, command in (
        (["upgrades"], "\npython -m utils.upgrade --check"),
        ([], "Then, in the folder of the new version:"),
        ([], "\npython -m utils.upgrade --project '../my own' --check"),
    ):
        record.rooms = rooms
        write_readme(ROOT, tmp_path, "my own", record)
        text = (tmp_path / "README.md").read_text(encoding="utf-8")
        assert command in text
        assert "{{" not in text


def test_a_config_with_mistakes_makes_no_project(tmp_path: Path) -> None:
    framework = copy_project(tmp_path / "framework", leave_out=("tests",))
    text = "extends: config.json\noptimizer: {args: {lrr: 1}}\n"
    (framework / "config/typo.yaml").write_text(text, encoding="utf-8")
    done = run_forked(*NEW, tmp_path / "mine", "--from", "typo.yaml", cwd=framework)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "optimizer.args.lrr: Adam takes no 'lrr' (did you mean 'lr'?)" in done.stderr
    assert os.listdir(tmp_path) == ["framework"]  # noqa: PTH208


def test_the_first_commit_needs_no_identity_and_has_all_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "nobody"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "nobody"))
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    (tmp_path / "nobody/git").mkdir(parents=True)
    (tmp_path / "nobody/git/ignore").write_text("*.json\n")  # of the user, for all repositories
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/file.json").write_text("{}")
    assert commit_all(tmp_path / "mine", "Begin")
    assert Git(tmp_path / "mine").read("ls-files") == "file.json"


def test_without_git_there_is_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not commit_all(tmp_path, "Begin")
    assert open_repository(tmp_path) is None


def test_a_source_keeps_no_password() -> None:
    assert CREDENTIALS.sub("", "https://me:token@host/x.git") == "https://host/x.git"
