"""How much of the project one training step passes through."""

from __future__ import annotations

import gc
import sys
import traceback
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch

from tests.helpers import ROOT, make_trainer, small_config

MAX_FRAMES_TO_MODEL = 3
MAX_FRAMES_TO_OPTIMIZER = 2
MAX_FILES_OF_A_STEP = 9
STEP = 3  # the first ones do more, such as showing a batch


class DepthError(Exception):
    pass


def is_ours(path: str) -> bool:
    relative = Path(path).is_relative_to(ROOT)
    return relative and "site-packages" not in path and "tests" not in Path(path).parts


def count_frames_below_the_loop(error: BaseException) -> int:
    """The project's frames between ``_train_epoch`` and where the error was raised."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if is_ours(frame[0])]
    names = [frame.name for frame in frames]
    return len(names) - 1 - names.index("_train_epoch")


def fail(*_: Any, **__: Any) -> None:
    raise DepthError


def test_the_model_is_at_most_3_frames_below_the_loop(tmp_path: Path) -> None:
    trainer = make_trainer(small_config(tmp_path))
    trainer.model.forward = fail
    with pytest.raises(DepthError) as caught:
        trainer.train()
    assert count_frames_below_the_loop(caught.value) <= MAX_FRAMES_TO_MODEL


def test_the_optimizer_is_at_most_2_frames_below_the_loop(tmp_path: Path) -> None:
    trainer = make_trainer(small_config(tmp_path))
    trainer.optimizer.step = fail
    with pytest.raises(DepthError) as caught:
        trainer.train()
    assert count_frames_below_the_loop(caught.value) <= MAX_FRAMES_TO_OPTIMIZER


def test_a_step_passes_through_at_most_9_files(tmp_path: Path) -> None:
    """From a batch on the device to the request for the next one, the model among them."""
    gc.collect()  # trainers of other tests, whose hooks see the steps of all optimizers
    trainer = make_trainer(small_config(tmp_path, epochs=1))
    files: set[str] = set()
    n_batches = 0

    def watch(frame: FrameType, event: str, _: Any) -> None:
        nonlocal n_batches
        code = frame.f_code
        if not is_ours(code.co_filename):
            return
        if code.co_name == "batches":  # a generator, which returns to the loop with each batch
            n_batches += event == "return"
            return
        if event == "call" and n_batches == STEP and not in_batches(frame):
            files.add(str(Path(code.co_filename).relative_to(ROOT)))

    def in_batches(frame: FrameType | None) -> bool:
        while frame is not None and frame.f_code.co_name != "_train_epoch":
            if frame.f_code.co_name == "batches":
                return True
            frame = frame.f_back
        return False

    sys.setprofile(watch)
    try:
        trainer.train()
    finally:
        sys.setprofile(None)
    assert n_batches > STEP
    assert "trainer/trainer.py" in files
    assert len(files) <= MAX_FILES_OF_A_STEP, sorted(files)


def test_a_step_does_not_wait_for_the_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing fetches a tensor between two steps, except for values on a CPU: loss, gradient."""
    fetched: list[str] = []
    original = torch.Tensor.item

    def item(tensor: torch.Tensor) -> Any:
        caller = traceback.extract_stack()[-2]
        if is_ours(caller.filename):
            fetched.append(caller.name)
        return original(tensor)

    trainer = make_trainer(small_config(tmp_path, epochs=1))
    monkeypatch.setattr(torch.Tensor, "item", item)
    trainer.train()
    assert set(fetched) <= {"add", "backward", "check", "ignores_all", "after_step"}
