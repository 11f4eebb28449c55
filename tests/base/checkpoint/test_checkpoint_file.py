"""Writing that a crash cannot spoil, reading that runs no code."""

from __future__ import annotations

import io
import logging
import os
import pickle
import resource
import signal
import stat

import pytest
import torch

from base.checkpoint import file as checkpoint
from utils.errors import UserError

LOGGER = logging.getLogger("test")


class Hostile:
    def __reduce__(self):
        return os.system, ("touch executed",)


def state(value: float) -> dict:
    return {
        "state_dict": {"w": torch.full((10,), float(value))},
        "epoch": int(value),
        "config": {"a": [1, None, "x"]},
    }


def test_what_is_saved_loads_anywhere(tmp_path):
    path = tmp_path / "checkpoint-epoch1.pt"
    checkpoint.save(state(1), path)
    assert torch.equal(torch.load(path, weights_only=True)["state_dict"]["w"], torch.ones(10))
    assert checkpoint.load(path)["config"] == {"a": [1, None, "x"]}
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path, monkeypatch):
    path = tmp_path / "model.pt"
    checkpoint.save(state(1), path)

    def full_disk(content, file):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(UserError, match="could not be written: No space left"):
        checkpoint.save(state(2), path)
    assert checkpoint.load(path)["epoch"] == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.pt"]


def test_a_limit_on_file_size_leaves_the_old_file_and_no_litter(tmp_path):
    path = tmp_path / "model.pt"
    checkpoint.save(state(1), path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
        with pytest.raises(UserError, match="could not be written"):
            checkpoint.save({"state_dict": {"w": torch.zeros(100_000)}}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert checkpoint.load(path)["epoch"] == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.pt"]


def test_the_file_is_synced_before_it_is_renamed_and_the_folder_after(tmp_path, monkeypatch):
    calls = []
    fsync, replace = os.fsync, type(tmp_path).replace

    def spy_fsync(handle):
        calls.append("fsync folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "fsync file")
        return fsync(handle)

    def spy_replace(self, target):
        calls.append("rename")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", spy_fsync)
    monkeypatch.setattr(type(tmp_path), "replace", spy_replace)
    checkpoint.save(state(1), tmp_path / "a.pt")
    assert calls == ["fsync file", "rename", "fsync folder"]


def test_a_flipped_bit_in_a_tensor_is_refused(tmp_path):
    path = tmp_path / "checkpoint-epoch1.pt"
    checkpoint.save(state(1), path)
    content = bytearray(path.read_bytes())
    content[content.index(torch.ones(10).numpy().tobytes()) + 3] ^= 1
    path.write_bytes(content)
    assert not torch.equal(
        torch.load(path, weights_only=True)["state_dict"]["w"], torch.ones(10)
    )  # torch does not see it
    with pytest.raises(UserError, match=r"damaged checkpoint: the checksum of .*/data/. is wrong"):
        checkpoint.load(path)


@pytest.mark.parametrize("length", [0, 1, 4, 100, 1000, -1])
def test_a_truncated_file_is_refused_in_one_line(tmp_path, length):
    path = tmp_path / "checkpoint-epoch1.pt"
    checkpoint.save(state(1), path)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(UserError) as error:
        checkpoint.load(path)
    assert "\n" not in str(error.value)


def test_a_damaged_newest_one_falls_back_to_the_one_before(tmp_path, caplog):
    for epoch in (1, 2, 10):
        checkpoint.save(state(epoch), tmp_path / f"checkpoint-epoch{epoch}.pt")
    newest = tmp_path / "checkpoint-epoch10.pt"
    newest.write_bytes(newest.read_bytes()[:-50])
    loaded, path = checkpoint.load_newest(newest, LOGGER)
    assert (loaded["epoch"], path.name) == (2, "checkpoint-epoch2.pt")
    assert "damaged checkpoint" in caplog.text
    assert "going on from checkpoint-epoch2.pt" in caplog.text


@pytest.mark.parametrize("name", ["checkpoint-epoch1.pt", "checkpoint-epoch1.pth"])
@pytest.mark.parametrize("form", ["zip", "legacy", "pickle"])
def test_code_in_a_checkpoint_is_never_run(tmp_path, monkeypatch, name, form):
    monkeypatch.chdir(tmp_path)
    content = {"state_dict": {}, "deep": [{"er": Hostile()}]}
    path = tmp_path / name
    if form == "pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form == "zip")
    with pytest.raises(UserError) as error:
        checkpoint.load(path)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "executed").exists()


def test_a_duplicate_is_independent_of_the_original(tmp_path):
    first, best = tmp_path / "checkpoint-epoch1.pt", tmp_path / "model_best.pt"
    checkpoint.save(state(1), first)
    checkpoint.duplicate(first, best)
    checkpoint.save(state(2), first)
    assert checkpoint.load(best)["epoch"] == 1
    first.unlink()
    assert checkpoint.load(best)["epoch"] == 1


def test_weights_of_a_dataparallel_model_fit_the_plain_one():
    model = torch.nn.Linear(2, 3)
    weights = {f"module.{name}": value + 1 for name, value in model.state_dict().items()}
    checkpoint.load_weights(model, weights, "file")
    assert torch.equal(model.weight, weights["module.weight"])


def test_other_weights_are_refused_with_names_and_shapes():
    with pytest.raises(
        UserError, match=r"other shapes in 1 \(weight is \(3, 5\) there, \(3, 2\) here\)"
    ):
        checkpoint.load_weights(torch.nn.Linear(2, 3), torch.nn.Linear(5, 3).state_dict(), "file")


def test_a_pipe_is_no_checkpoint(tmp_path):
    path = tmp_path / "x.pt"
    buffer = io.BytesIO()
    torch.save(torch.ones(3), buffer)
    path.write_bytes(buffer.getvalue())
    with pytest.raises(UserError, match="holds a Tensor, not a checkpoint"):
        checkpoint.load(path)
