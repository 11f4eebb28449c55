"""A mistake of the user ends in one line that says what and where, and in status 2.

Nothing is left behind, and there is no traceback.
"""

from __future__ import annotations

import runpy
import sys
import time

import pytest

from tests.forked import run_forked
from tests.helpers import ROOT, run


@pytest.fixture
def program(tmp_path, monkeypatch, capsys):
    """Runs train.py or test.py in this process; returns its status and its lines of errors."""
    monkeypatch.chdir(ROOT)

    def call(name: str, *words: str) -> tuple[int, list[str]]:
        monkeypatch.setattr(sys, "argv", [name, *words])
        try:
            runpy.run_path(str(ROOT / name), run_name="__main__")
        except SystemExit as end:
            status = end.code
        else:
            status = 0
        return status, capsys.readouterr().err.strip().splitlines()

    return call


NO_MONITOR = ["trainer.monitor=off", "trainer.early_stop=0"]
DATASET_LOADER = "data_loader={type: DatasetLoader, args: {dataset: {type: FakeData}}}"
SIZE = "data_loader.args.dataset.args.size"
MATRIX = "{type: ConfusionMatrix, args: {task: multiclass, num_classes: 10}}"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-c", "nowhere.json"], "nowhere.json: no such config"),
        (
            ["data_loader.args.validation_split=5000"],
            "validation_split=5000 of 1438 samples leaves one part empty",
        ),
        (
            ["data_loader.args.validation_split=1.5"],
            "validation_split=1.5 of 1438 samples leaves one part empty",
        ),
        (["data_loader.args.batch_size=0"], "batch_size=0 must be at least 1"),
        ([DATASET_LOADER, f"{SIZE}=0", *NO_MONITOR], "the dataset FakeData is empty"),
        (
            [DATASET_LOADER, f"{SIZE}=9", "data_loader.args.drop_last=true", *NO_MONITOR],
            "batch_size=32 with drop_last leaves no batch of 9 samples",
        ),
        (
            ["loss={type: cross_entropy, args: {reduction: none}}"],
            "the loss must be one number, not (64,)",
        ),
        (
            [*NO_MONITOR, f"metrics=[{MATRIX}]"],
            "must give a number, or a vector or dict of up to 1000 numbers, not a tensor of shape",
        ),
        (["optimizer={type: SGD, args: {lr: 1e30}}"], "the loss is nan after"),
        (
            ["trainer.monitor=min val_los"],
            "nothing is logged as 'val_los' (did you mean 'val_loss'?)",
        ),
        (["trainer.save_dir=train.py/x"], "trainer.save_dir: train.py is not a folder"),
        (
            ["trainer.warmup_steps=1000"],
            "trainer.warmup_steps: 1000 is more than the 270 optimizer steps of the run",
        ),
        (
            ["trainer.monitor=off"],
            "config/config.json:32:9: trainer.early_stop: needs trainer.monitor",
        ),
        (
            ["valid_data_loader={type: DigitsDataLoader}"],
            "data_loader.args.validation_split: is not used",
        ),
        (
            ["lr_scheduler={type: ReduceLROnPlateau}", "trainer.lr_scheduler_interval=step"],
            "after an epoch, not a step",
        ),
        (
            ["lr_scheduler={type: ReduceLROnPlateau}", *NO_MONITOR],
            "follows trainer.monitor, which is 'off'",
        ),
        (["lr_scheduler.args.optimizer=1"], "'optimizer' is given by the program"),
        (["optimizer.type=Adm"], "no 'Adm' in torch.optim (did you mean 'Adam'?)"),
        (["optimizer.args.lrr=1"], "Adam takes no 'lrr' (did you mean 'lr'?)"),
        (["trainer.epochs=many"], "trainer.epochs: wants int, not 'many'"),
        (["trainer.epochs=0"], "trainer.epochs: 0 must be at least 1"),
        (["-d", "gpu"], "-d gpu: must be cpu, an index as in 0"),
        (["--run-id", "../x"], "--run-id '../x' must be 1 to 64 letters"),
        (["-r", "saved/nowhere"], "no such checkpoint or run folder"),
    ],
    ids=lambda value: " ".join(value)[:50] if isinstance(value, list) else "",
)
def test_a_mistake_ends_in_one_line(program, tmp_path, words, message):
    if not any("save_dir" in word for word in words):
        words = [*words, f"trainer.save_dir={tmp_path / 'saved'}"]
    status, lines = program("train.py", *words)
    assert status == 2
    assert len(lines) == 1
    assert message in lines[0]
    assert not (tmp_path / "saved").exists()


def test_all_mistakes_are_reported_at_once(program):
    status, lines = program("train.py", "arch.args.wdth=3", "loss=nll_los", "trainer.epochs=x")
    assert status == 2
    assert [line.partition("=")[0] for line in lines] == [
        "arch.args.wdth",
        "loss",
        "trainer.epochs",
    ]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a run of one epoch."""
    folder = tmp_path_factory.mktemp("runs")
    options = ["trainer.epochs=1", f"trainer.save_dir={folder}", "trainer.tensorboard=false"]
    done = run_forked("train.py", "--run-id", "r", *options)
    assert done.returncode == 0, done.stderr
    return folder / "digits" / "r"


def test_a_truncated_checkpoint(program, finished, tmp_path):
    path = tmp_path / "checkpoint-epoch1.pt"
    path.write_bytes((finished / "checkpoint-epoch1.pt").read_bytes()[:1000])
    (tmp_path / "config.json").write_text((finished / "config.json").read_text())
    for name in ("train.py", "test.py"):
        status, lines = program(name, "-r", str(path))
        assert (status, len(lines)) == (2, 1)
        assert "damaged checkpoint" in lines[0]
    files = sorted(entry.name for entry in tmp_path.iterdir() if entry.is_file())
    assert files == [path.name, "config.json"]


def test_a_checkpoint_of_another_architecture(program, finished):
    before = (finished / "config.json").read_text()
    status, lines = program("train.py", "-r", str(finished), "arch={type: lenet.LeNet}")
    assert (status, len(lines)) == (2, 1)
    assert "holds another architecture than LeNet" in lines[0]
    assert (finished / "config.json").read_text() == before


def test_a_run_folder_without_a_checkpoint(program, tmp_path):
    for name in ("train.py", "test.py"):
        status, lines = program(name, "-r", str(tmp_path))
        assert (status, len(lines)) == (2, 1)
        assert "there is no checkpoint in this folder" in lines[0]


def test_an_output_that_cannot_be_written(program, finished):
    status, lines = program("test.py", "-r", str(finished), "--output", "/nowhere/x.json")
    assert (status, len(lines)) == (2, 1)
    assert "must be a file in an existing folder" in lines[0]


def test_a_run_id_that_is_taken(program, finished):
    status, lines = program(
        "train.py", "--run-id", "r", f"trainer.save_dir={finished.parent.parent}"
    )
    assert (status, len(lines)) == (2, 1)
    assert "holds a run already" in lines[0]
    assert (finished / "model_best.pt").exists()


def test_help_is_quick_and_a_mistyped_config_does_not_wait_for_torch():
    done = run("train.py", "--help")
    assert "KEY=VALUE" in done.stdout
    script = (
        "import runpy, sys; sys.argv = ['train.py', '-c', 'nope']\n"
        "try: runpy.run_path('train.py', run_name='__main__')\n"
        "except SystemExit: pass\n"
        "print('torch' in sys.modules)"
    )
    start = time.perf_counter()
    assert run("-c", script).stdout.strip() == "False"
    assert time.perf_counter() - start < 5  # never a tight limit: that is what benchmarks are for


def test_an_error_in_the_users_code_keeps_its_traceback(tmp_path):
    script = (
        "import runpy, sys, model.model\n"
        "def broken(self, x): return undefined_name\n"
        "model.model.SmallConvNet.forward = broken\n"
        f"sys.argv = ['train.py', 'trainer.save_dir={tmp_path}', '--run-id', 'x']\n"
        "runpy.run_path('train.py', run_name='__main__')"
    )
    done = run_forked("-c", script)
    assert done.returncode == 1
    assert "NameError: name 'undefined_name' is not defined" in done.stderr
    assert (tmp_path / "digits" / "x" / "log" / "info.log").exists(), "the run's folder stays"
