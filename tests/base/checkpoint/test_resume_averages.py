"""A run with averaged weights that is resumed anywhere ends with the bits of one without a stop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.base.checkpoint.resumed_runs import check_resuming, check_same_end, copy_checkpoint
from tests.base.parallel.spread_runs import train
from tests.helpers import load, make_trainer, small_config
from tests.ranks import in_ranks

WARMUP = {"ema_decay": 0.9, "ema_warmup": True}
VARIANTS: dict[str, dict[str, Any]] = {
    "swa": {"swa": {"start": 2}, "monitor": "max val_swa_accuracy", "epochs": 3},
    "swa by steps": {"swa": {"start": 0.5, "steps": 2}, "grad_clip_value": 0.01},
    "swa of epochs that are parts of a pass": {"swa": {"start": 2}, "len_epoch": 2, "epochs": 3},
    "warm-up of the decay": WARMUP | {"grad_clip_value": 0.01, "accumulation_steps": 2},
    "recomputed activations": {"activation_checkpointing": ["features", "classifier"], **WARMUP},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_resume_after_any_step_gives_the_same_bits(tmp_path: Path, variant: str) -> None:
    config = small_config(tmp_path, save_steps=1, **VARIANTS[variant])
    config["data_loader"]["args"] |= {"batch_size": 480}
    check_resuming(
        lambda run_id, resume: make_trainer(config, run_id, resume), "checkpoint-*.pt", at_least=5
    )


def test_two_ranks_resume_to_the_same_bits(tmp_path: Path) -> None:
    """The model has batch norms, whose statistics are those of the main rank."""
    options = {"swa": {"start": 1}, "save_steps": 2, "activation_checkpointing": "features"}
    config = small_config(tmp_path, epochs=2, grad_clip_value=0.01, **options)
    config["data_loader"]["args"] |= {"batch_size": 480}
    config["parallel"] = {"type": "ddp"}
    in_ranks(2, train, config, "full")
    *checkpoints, _ = sorted((tmp_path / "small/full").glob("checkpoint-*.pt"))
    assert len(checkpoints) >= 3
    for path in checkpoints:
        folder = tmp_path / "small" / path.stem
        in_ranks(2, train, config, None, copy_checkpoint(path, folder))
        check_same_end(folder, tmp_path / "small/full")


# -- a resumed run with another config -----------------------------------------------------------

SWITCHED = [  # the options before and after, and what the log says
    ({}, {"ema_decay": 0.9}, "trainer.ema_decay is new: the checkpoint has no EMA weights"),
    ({"ema_decay": 0.9}, {}, "trainer.ema_decay is off now: the EMA weights of the checkpoint are"),
    ({}, {"swa": {"start": 1}}, "trainer.swa is new: the checkpoint has no SWA weights"),
    ({"swa": {"start": 1}}, {}, "trainer.swa is off now: the SWA weights of the checkpoint are"),
    ({"swa": {"start": 1}}, {"swa": {"start": 3}}, "trainer.swa.start is epoch 3 now: the SWA"),
]


@pytest.mark.parametrize(("before", "after", "message"), SWITCHED, ids=str)
def test_averages_that_a_resumed_run_switches_are_named_in_one_line(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    before: dict[str, Any],
    after: dict[str, Any],
    message: str,
) -> None:
    first = make_trainer(small_config(tmp_path, epochs=1, **before))
    first.train()
    path = copy_checkpoint(first.checkpoint_dir / "checkpoint-epoch1.pt", tmp_path / "small/second")
    caplog.clear()
    second = make_trainer(small_config(tmp_path, epochs=3, **after), resume=path)
    second.train()
    assert [record.message for record in caplog.records if message in record.message] != []
    saved = load(second.checkpoint_dir / "checkpoint-epoch3.pt")["parts"]["update"]
    counts = {kind: int(saved[kind]["n_averaged"]) for kind in ("ema", "swa") if saved.get(kind)}
    expected = {"ema": 18} if "ema_decay" in after else {}
    if "swa" in after:
        expected["swa"] = 4 - max(2, after["swa"]["start"])
    assert counts == expected


@pytest.mark.parametrize("kind", ["ema", "swa"])
def test_an_average_that_goes_on_gives_no_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    options = {"ema": {"ema_decay": 0.9}, "swa": {"swa": {"start": 2}}}[kind]
    first = make_trainer(small_config(tmp_path, epochs=2, **options))
    first.train()
    path = copy_checkpoint(first.checkpoint_dir / "checkpoint-epoch1.pt", tmp_path / "small/second")
    make_trainer(small_config(tmp_path, epochs=2, **options), resume=path).train()
    assert "is new" not in caplog.text
    assert "dropped" not in caplog.text
