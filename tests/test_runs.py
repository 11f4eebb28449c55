"""Runs as processes, beside a shell, another process or an old folder."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.forked import run_forked
from tests.helpers import ROOT

QUICK = ("trainer.epochs=2", "trainer.tensorboard=false", "arch.args.width=4")


def test_a_reader_of_the_output_that_goes_away_does_not_stop_a_run(tmp_path):
    command = [sys.executable, "train.py", *QUICK, f"trainer.save_dir={tmp_path}", "--run-id", "x"]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    process.stdout.readline()
    process.stdout.close()
    _, errors = process.communicate()
    assert (process.returncode, errors) == (0, "")
    assert (tmp_path / "digits" / "x" / "checkpoint-epoch2.pt").exists()


def test_a_folder_takes_one_run_at_a_time(tmp_path):
    script = (
        "import sys; from pathlib import Path; from utils.files import lock_file\n"
        f"held = lock_file(Path({str(tmp_path / 'digits' / 'x' / 'log' / '.lock')!r}))\n"
        "print('held', flush=True); sys.stdin.read()"
    )
    (tmp_path / "digits" / "x" / "log").mkdir(parents=True)
    other = subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other.stdout.readline() == "held\n"
    words = ["train.py", *QUICK, f"trainer.save_dir={tmp_path}", "--run-id", "x"]
    done = run_forked(*words)
    other.communicate("")
    assert done.returncode == 2
    assert "another process is training in this folder" in done.stderr
    assert run_forked(*words).returncode == 0


def test_the_log_names_keys_and_overrides_that_nothing_reads(tmp_path):
    config = tmp_path / "c.json"
    config.write_text(
        json.dumps({"extends": str(ROOT / "config/config.json"), "bs": 128, "spare": 1})
    )
    words = [
        *QUICK,
        "data_loader.args.batch_size=${bs}",
        f"trainer.save_dir={tmp_path}",
        "--run-id",
        "x",
    ]
    done = run_forked("train.py", "-c", config, *words)
    assert "Nothing has read these keys of the config: 'spare'" in done.stdout
    assert "'bs'" not in done.stdout, "batch_size refers to it"
    tested = run_forked("test.py", "-r", tmp_path / "digits" / "x", "bs=9")
    assert tested.returncode == 0
    assert "Nothing has read these keys of the config: 'bs'" in tested.stdout
    assert "'spare'" not in tested.stdout
