"""Requests to stop, bad losses and full disks of one rank end all ranks alike."""

from __future__ import annotations

import resource
import signal

import pytest

from tests.base.parallel.spread_runs import (
    FSDP_SECTION,
    stop_in,
    table_config,
    train,
    train_with_bad_loss,
)
from tests.helpers import load
from tests.ranks import in_ranks

SECTIONS = {"ddp": {"parallel": {"type": "ddp"}}, "fsdp": FSDP_SECTION}


@pytest.mark.parametrize("kind", SECTIONS)
@pytest.mark.parametrize("phase", ["training", "validation"])
def test_a_signal_to_one_rank_stops_all_at_the_same_batch(tmp_path, phase, kind):
    config = table_config(tmp_path, epochs=3) | SECTIONS[kind]
    ends = in_ranks(2, stop_in, config, phase)
    assert {status for status, *_ in ends} == {143}
    assert len({tuple(position) for _, *position in ends}) == 1
    (path,) = (tmp_path / "small/run").glob("checkpoint*.pt")
    assert load(path)["state_dict"]["layers.0.weight"].shape == (16, 30)


@pytest.mark.parametrize("kind", SECTIONS)
@pytest.mark.parametrize(("accumulation", "bad_batch"), [(1, 1), (3, 4)])
def test_an_infinite_loss_of_one_rank_ends_all_without_a_checkpoint(
    tmp_path, kind, accumulation, bad_batch
):
    """The other rank waits for gradients, and ends with the same status and no error."""
    trainer = {"epochs": 1, "accumulation_steps": accumulation, "grad_clip_norm": 0.1}
    config = table_config(tmp_path, **trainer) | SECTIONS[kind]
    with pytest.raises(AssertionError) as caught:
        in_ranks(2, train_with_bad_loss, config, bad_batch)
    silent, loud = list_errors(caught.value)
    assert silent == "SystemExit: 2"
    assert "UserError: rank 1: the loss is inf after 1 optimizer steps" in loud
    assert not list((tmp_path / "small/run").glob("*.pt"))


def test_a_full_disk_of_the_main_rank_ends_all(tmp_path):
    with pytest.raises(AssertionError) as caught:
        in_ranks(2, train_with_small_files, table_config(tmp_path, save_steps=3))
    loud, silent = list_errors(caught.value)
    assert loud.endswith("the checkpoint could not be written: File too large")
    assert silent == "SystemExit: 2"


def train_with_small_files(config):
    """Trains in a process that may write its log, but no file as large as a checkpoint."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (15_000, resource.RLIM_INFINITY))
    train(config, "run")


def list_errors(error):
    """The last line of each rank's traceback."""
    tracebacks = str(error).split("rank 1: Traceback")
    assert len(tracebacks) == 2
    return [text.strip().splitlines()[-1] for text in tracebacks]
