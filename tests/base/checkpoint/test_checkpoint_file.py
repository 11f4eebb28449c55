"""A checkpoint file: a failed write leaves the old one, and reading it runs no code."""

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

from base.checkpoint.file import duplicate, load, load_newest, save
from utils.errors import UserError

LOGGER = logging.getLogger("test")


class Hostile:
    def __reduce__(self):
        return os.system, ("touch executed",)


def make_state(value):
    return {
        "state_dict": {"w": torch.full((10,), float(value))},
        "epoch": int(value),
        "config": {"a": [1, None, "x"]},
    }


def test_a_saved_state_loads_with_torch_itself(tmp_path):
    path = tmp_path / "checkpoint-epoch1.pt"
    save(make_state(1), path)
    assert torch.equal(torch.load(path, weights_only=True)["state_dict"]["w"], torch.ones(10))
    assert load(path)["config"] == {"a": [1, None, "x"]}
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "model.pt"
    save(make_state(1), path)

    def full_disk(content, file):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(UserError, match="could not be written: No space left"):
        save(make_state(2), path)
    assert load(path)["epoch"] == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.pt"]


def test_a_limit_on_file_size_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "model.pt"
    save(make_state(1), path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
        with pytest.raises(UserError, match="could not be written"):
            save({"state_dict": {"w": torch.zeros(100_000)}}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert load(path)["epoch"] == 1
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
    save(make_state(1), tmp_path / "a.pt")
    assert calls == ["fsync file", "rename", "fsync folder"]


def test_a_flipped_bit_in_a_tensor_is_refused(tmp_path):
    path = tmp_path / "checkpoint-epoch1.pt"
    save(make_state(1), path)
    content = bytearray(path.read_bytes())
    content[content.index(torch.ones(10).numpy().tobytes()) + 3] ^= 1
    path.write_bytes(content)
    assert not torch.equal(
        torch.load(path, weights_only=True)["state_dict"]["w"], torch.ones(10)
    )  # torch does not notice
    with pytest.raises(UserError, match=r"damaged checkpoint: the checksum of .*/data/. is wrong"):
        load(path)


@pytest.mark.parametrize("length", [0, 1, 4, 100, 1000, -1])
def test_a_truncated_file_ends_in_one_line(tmp_path, length):
    path = tmp_path / "checkpoint-epoch1.pt"
    save(make_state(1), path)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(UserError) as error:
        load(path)
    assert "\n" not in str(error.value)


def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before(tmp_path, caplog):
    for epoch in (1, 2, 10):
        save(make_state(epoch), tmp_path / f"checkpoint-epoch{epoch}.pt")
    newest = tmp_path / "checkpoint-epoch10.pt"
    newest.write_bytes(newest.read_bytes()[:-50])
    loaded, path = load_newest(newest, LOGGER)
    assert (loaded["epoch"], path.name) == (2, "checkpoint-epoch2.pt")
    assert "damaged checkpoint" in caplog.text
    assert "resuming from checkpoint-epoch2.pt" in caplog.text


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
        load(path)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "executed").exists()


def test_a_duplicate_is_independent_of_the_original(tmp_path):
    first, best = tmp_path / "checkpoint-epoch1.pt", tmp_path / "model_best.pt"
    save(make_state(1), first)
    duplicate(first, best)
    save(make_state(2), first)
    assert load(best)["epoch"] == 1
    first.unlink()
    assert load(best)["epoch"] == 1


def test_a_tensor_is_no_checkpoint(tmp_path):
    path = tmp_path / "x.pt"
    buffer = io.BytesIO()
    torch.save(torch.ones(3), buffer)
    path.write_bytes(buffer.getvalue())
    with pytest.raises(UserError, match="holds a Tensor, not a checkpoint"):
        load(path)
