"""A run that fails on the device: one line, a status, and an intact checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.accelerator.device import ON_CPU, device_config
from tests.accelerator.test_accelerator_checkpoints import list_tensors
from tests.base.checkpoint.resumed_runs import load_last
from tests.helpers import make_trainer
from utils.checkpoints import list_checkpoints
from utils.main import run_main

ADVICE = "this batch changed no weights" if ON_CPU else "resume from the newest checkpoint"


def break_loss(trainer: Any, step: int) -> Any:
    """Makes the loss NaN in one batch of the run, counted from 0."""
    criterion = trainer.criterion

    def with_nan(output: Any, target: Any) -> Any:
        return criterion(output, target) * (float("nan") if trainer.progress.step == step else 1)

    trainer.criterion = with_nan
    return trainer


def run_program(trainer: Any, capsys: pytest.CaptureFixture[str]) -> tuple[Any, str]:
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        run_main(trainer.train)
    return end.value.code, capsys.readouterr().err


def test_a_nan_ends_in_one_line_and_a_finite_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The NaN comes after step 13. The save at step 15 must not write weights that are NaN."""
    trainer = break_loss(make_trainer(device_config(tmp_path, save_steps=2)), 13)
    status, err = run_program(trainer, capsys)
    assert status == 2
    (line,) = err.splitlines()
    assert line.startswith("the loss is nan after 1")
    assert ADVICE in line
    newest = list_checkpoints(trainer.checkpoint_dir)[0]
    assert newest.name == "checkpoint-epoch2-step13.pt"
    state = load_last(trainer.checkpoint_dir)
    floats = [value for value in list_tensors(state) if value.is_floating_point()]
    assert all(bool(value.isfinite().all()) for value in floats)


def test_a_nan_at_the_end_of_an_epoch_is_not_saved(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = break_loss(make_trainer(device_config(tmp_path)), 17)
    status, err = run_program(trainer, capsys)
    assert (status, ADVICE in err) == (2, True)
    names = [path.name for path in list_checkpoints(trainer.checkpoint_dir)]
    assert names == ["checkpoint-epoch1.pt"]


def test_detect_nan_names_the_layer_and_the_samples(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = make_trainer(device_config(tmp_path, debug={"detect_nan": True}))
    trainer.data_loader.dataset.tensors[0][trainer.data_loader.sampler.indices[7]] = float("nan")
    status, err = run_program(trainer, capsys)
    assert status == 2
    assert err.startswith("detect_nan: the output of the layer features.0 is not finite in batch ")
    assert str(int(trainer.data_loader.sampler.indices[7])) in err
