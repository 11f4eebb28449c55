"""``python -m base.tools.runs``: listing, comparing and cleaning runs, and finding the best."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from base.tools.run_record import RunRecord, list_runs
from tests.base.tools.programs import Ended
from tests.helpers import ROOT, run
from utils.files import lock_file

Command = Callable[..., Ended]

SESSION = {
    "start": "2026-11-25T10:00:00+01:00",
    "git_commit": "a" * 40,
    "git_diff": None,
    "outcome": "finished",
}


def make_run(root: Path, name: str, scores: list[float], lr: float = 0.1, **session: Any) -> Path:
    folder = root / name
    (folder / "log").mkdir(parents=True)
    trainer = {"epochs": 3, "monitor": "max val_accuracy"}
    config = {
        "name": folder.parent.name,
        "optimizer": {"type": "SGD", "args": {"lr": lr}},
        "trainer": trainer,
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "provenance.json").write_text(json.dumps({"sessions": [SESSION | session]}))
    rows = [
        {"epoch": n, "loss": 1.0 / n, "val_accuracy": score, "lr": lr}
        for n, score in enumerate(scores, 1)
    ]
    (folder / "log" / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "saved"
    make_run(root, "digits/one", [0.5, 0.9, 0.8])
    make_run(
        root,
        "digits/two",
        [0.6, 0.7],
        lr=0.2,
        start="2026-11-26",
        outcome="stopped by SIGTERM",
        git_commit="b" * 40,
    )
    make_run(
        root,
        "other/one",
        [0.1],
        start="2026-11-27",
        outcome="failed: no data",
        changes={"optimizer.args.lr": 0.1},
    )
    make_run(root, "other/killed", [], start="2026-11-28", outcome="running")
    return root


def test_every_run_is_a_line(root: Path, command: Command) -> None:
    lines = [line.split() for line in command(root).out.splitlines()]
    assert lines[0] == ["run", "started", "state", "epochs", "best", "changed"]
    first = "digits/one 2026-11-25 10:00 finished 3/3 val_accuracy 0.9 (epoch 2)"
    assert lines[1] == first.split()
    names = ["digits/one", "digits/two", "other/one", "other/killed"]
    assert [line[0] for line in lines[1:]] == names
    assert [line[-5] for line in lines[2:3]] == ["2/3"]
    assert lines[3][2:4] == ["crashed", "1/3"]
    assert lines[3][-1] == "optimizer.args.lr=0.1"
    assert lines[4][2:] == ["crashed", "0/3"]


def test_a_run_is_running_while_a_process_holds_it(root: Path) -> None:
    held = lock_file(root / "other" / "killed" / "log" / ".lock")
    assert RunRecord(root / "other" / "killed").state == "running"
    assert held is not None
    held.close()
    assert RunRecord(root / "other" / "killed").state == "crashed"


def test_two_runs_are_compared_by_scores_config_and_code(root: Path, command: Command) -> None:
    done = command(root, "compare", "digits/one", "two")
    assert done.status == 0, done.err
    assert "optimizer.args.lr  0.1         0.2" in done.out
    assert "last val_accuracy  0.8" in done.out
    assert "Code, aaaaaaaa to bbbbbbbb" in done.out
    picture = (root / "compare.svg").read_text()
    for number in ("loss", "val_accuracy", "lr"):
        assert f">{number}</text>" in picture
    assert picture.count(">digits/two</text>") == 3
    assert "digits/one" in picture


def test_a_best_value_inside_an_epoch_has_its_step(root: Path) -> None:
    folder = make_run(root, "digits/inside", [0.5])
    row = {"epoch": 2, "batch": 4, "val_accuracy": 0.7, "step": 13}
    with (folder / "log" / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")
    config = json.loads((folder / "config.json").read_text())
    assert RunRecord(folder).format_best() == "val_accuracy 0.7 (epoch 2, step 13)"
    assert RunRecord(folder).epochs == "1/3"
    del config["trainer"]["epochs"]
    config["trainer"]["max_steps"] = 20
    (folder / "config.json").write_text(json.dumps(config))
    assert RunRecord(folder).epochs == "step 13/20"


def test_the_best_is_the_highest_where_more_is_better(root: Path, command: Command) -> None:
    assert "digits/one" in command(root, "best", "digits").out


def test_clean_asks_and_keeps_the_newest_and_the_best(root: Path, command: Command) -> None:
    folder, killed = root / "digits" / "one", root / "other" / "killed"
    names = [f"checkpoint-epoch{n}.pt" for n in (1, 2, 3)]
    for name in (*names, "model_best.pt"):
        (folder / name).write_bytes(bytes(1000))
        (killed / name).write_bytes(bytes(1000))
    held = lock_file(root / "digits" / "two" / "log" / ".lock")
    assert held is not None
    make_run(root, "digits/three", [0.1], outcome="running")
    running = root / "digits" / "three"
    also = lock_file(running / "log" / ".lock")
    assert also is not None
    for name in names:
        (running / name).touch()
    done = command(root, "clean", stdin="n\n")
    assert "3 checkpoints, 0.0 MB" in done.out
    assert sorted(path.name for path in folder.glob("*.pt")) == [*names, "model_best.pt"]
    done = command(root, "clean", stdin="y\n")
    assert "3 deleted" in done.out
    assert sorted(path.name for path in folder.glob("*.pt")) == [names[2], "model_best.pt"]
    assert sorted(path.name for path in killed.glob("*.pt")) == [*names[1:], "model_best.pt"]
    assert len(list(running.glob("*.pt"))) == 3
    held.close()
    also.close()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("best", "digit"),
            "digit: no run has this name (did you mean 'digits'?); there are digits, other",
        ),
        (("compare", "one", "two"), "one: digits/one and other/one have this id; give NAME/RUN_ID"),
        (
            ("compare", "digits/oe", "two"),
            "digits/oe: no such run (did you mean 'digits/one'?); `list` shows them",
        ),
    ],
)
def test_an_unknown_name_is_one_line(
    root: Path, command: Command, words: tuple[str, ...], message: str
) -> None:
    done = command(root, *words)
    assert (done.status, done.err.strip()) == (2, message)


def test_broken_files_leave_their_cells_empty(root: Path, command: Command) -> None:
    for name in ("provenance.json", "log/metrics.jsonl"):
        (root / "digits" / "one" / name).write_bytes(b"\xff{[")
    (root / "digits" / "two" / "config.json").write_text("[]")
    done = command(root)
    assert done.status == 0, done.err
    assert len(done.out.splitlines()) == 5


def test_a_thousand_runs_are_listed_quickly(tmp_path: Path, command: Command) -> None:
    for number in range(1000):
        make_run(tmp_path, f"name/{number}", [0.5] * 20, git_diff="+ a line\n" * 500)
    start = time.process_time()
    assert len(command(tmp_path).out.splitlines()) == 1001
    assert time.process_time() - start < 3  # seconds; 0.6 were measured


def test_an_empty_folder_has_no_runs(tmp_path: Path) -> None:
    done = run("-m", "base.tools.runs", "--dir", tmp_path)  # as a user does
    assert done.stdout == "There are no runs yet.\n"


def test_a_missing_folder_is_an_error(tmp_path: Path, command: Command) -> None:
    assert command(tmp_path / "none").status == 2


def test_the_changes_of_a_run_are_noted(tmp_path: Path, program: Command) -> None:
    (tmp_path / "mine.yaml").write_text(
        f"extends: {ROOT / 'config' / 'config.json'}\nname: mine\nn_gpu: 0\n"
    )
    words = ["trainer.epochs=1", f"trainer.save_dir={tmp_path}", "trainer.tensorboard=false"]
    words += ["--lr", "0.01"]
    done = program("train.py", "-c", tmp_path / "mine.yaml", "--run-id", "r", *words)
    assert done.status == 0, done.err
    changes = RunRecord(tmp_path / "mine" / "r").sessions[0]["changes"]
    assert changes["name"] == "mine"
    assert changes["optimizer.args.lr"] == 0.01
    assert changes["trainer.epochs"] == 1


def test_runs_are_in_the_order_of_time_when_summer_time_ends(tmp_path: Path) -> None:
    """The clock shows the hour from 2 to 3 twice."""
    make_run(tmp_path, "a/second", [0.5], start="2026-10-25T02:10:00+01:00")
    make_run(tmp_path, "a/first", [0.5], start="2026-10-25T02:50:00+02:00")
    make_run(tmp_path, "a/unknown", [0.5], start="yesterday")
    names = [record.name for record in list_runs(tmp_path)]
    assert names == ["a/unknown", "a/first", "a/second"]
