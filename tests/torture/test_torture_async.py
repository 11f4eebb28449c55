"""Asynchronous saving: slow, failing, with weights that change meanwhile."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from base.checkpoint import manager as saving
from base.checkpoint.manager import Saver
from base.options import TrainerOptions
from tests.helpers import differences, load, make_trainer, small_config
from utils.errors import UserError

LOGGER = logging.getLogger("torture.async")
ALL = os.environ.get("TORTURE") == "all"
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "ema and clipping": {"ema_decay": 0.9, "grad_clip_norm": 1.0},
    "accumulation in fp16": {"accumulation_steps": 2, "precision": "fp16"},
    "iteration mode": {"len_epoch": 5, "keep_best": 2, "monitor": "min val_loss"},
    "keep_last": {"keep_last": 2, "monitor": "max val_accuracy"},
}


@pytest.fixture(scope="module")
def row(request: pytest.FixtureRequest) -> Iterator[list[str]]:
    """Counts the tests, and sums them up at the end."""
    done: list[str] = []
    failed = request.session.testsfailed
    yield done
    print(
        f"row 13: asynchronous saves, {len(done)} times, {request.session.testsfailed - failed} failures"
    )


@pytest.fixture(autouse=True)
def count(row: list[str], request: pytest.FixtureRequest) -> None:
    row.append(request.node.name)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Every save waits until this is set."""
    event, save = threading.Event(), saving.save
    monkeypatch.setattr(saving, "save", lambda state, path: (event.wait(20), save(state, path)))
    yield event
    event.set()


@pytest.mark.parametrize("variant", VARIANTS if ALL else list(VARIANTS)[::2])
def test_what_is_written_is_the_state_at_save_time(tmp_path, monkeypatch, variant):
    """Each save is held back until the weights have moved on, or nothing more comes before the next one."""
    config = small_config(tmp_path, epochs=2, save_steps=2, **VARIANTS[variant])
    config["optimizer"] = {"type": "SGD", "args": {"lr": 0.05, "momentum": 0.9}}
    make_trainer(config, "warm")  # the first one imports what draws random numbers
    plain = make_trainer(config, "plain")
    plain.train()
    config["trainer"]["async_save"] = True
    trainer, save, moved = make_trainer(config, "async"), saving.save, []

    def late(state: dict[str, Any], path: Path) -> None:
        end = time.monotonic() + 0.1
        while trainer.steps_done() == state["step"] and time.monotonic() < end:
            time.sleep(0.001)
        now = trainer.model.state_dict()
        moved.append(
            any(not torch.equal(value, state["state_dict"][name]) for name, value in now.items())
        )
        save(state, path)

    monkeypatch.setattr(saving, "save", late)
    trainer.train()
    assert any(moved)
    names = sorted(path.name for path in plain.checkpoint_dir.glob("*.pt"))
    assert sorted(path.name for path in trainer.checkpoint_dir.glob("*.pt")) == names
    for name in names:
        states = [load(run.checkpoint_dir / name) for run in (plain, trainer)]
        del states[0]["config"], states[1]["config"]
        assert differences(*states) == [], name


ERRORS = {
    "disk": UserError(
        "checkpoint-epoch1.pt: the checkpoint could not be written: No space left on device"
    ),
    "system": OSError(5, "Input/output error"),
    "memory": MemoryError("no memory to pickle it"),
    "bug": AttributeError("Can't pickle local object"),
}


@pytest.mark.parametrize("kind", ERRORS)
@pytest.mark.parametrize("policy", ["stop", "go_on"])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_failure_is_told_at_the_next_step(tmp_path, monkeypatch, caplog, kind, policy):
    config = small_config(tmp_path, epochs=2, save_steps=4, async_save=True, on_save_error=policy)
    trainer, save = make_trainer(config), saving.save
    backward, after_step, told = trainer.update.backward, trainer.after_step, []

    def failing(state: dict[str, Any], path: Path) -> None:
        if state["step"] == 4:
            raise ERRORS[kind]
        save(state, path)

    def later(*args: Any) -> bool:
        if trainer.steps_done() == 4 and trainer._saver._thread is not None:
            trainer._saver._thread.join()  # from here on it has failed
        return bool(backward(*args))

    def watched() -> None:
        after_step()
        told.append(
            (trainer.steps_done(), "No space" in caplog.text or "error" in caplog.text.lower())
        )

    monkeypatch.setattr(saving, "save", failing)
    trainer.update.backward, trainer.after_step = later, watched
    if policy == "stop" or kind not in ("disk", "system"):  # a bug is no matter of a full disk
        with pytest.raises((UserError, MemoryError, AttributeError)):
            trainer.train()
        assert trainer.steps_done() == 5
        return
    trainer.train()
    assert next(step for step, known in told if known) == 5
    assert (trainer.checkpoint_dir / "checkpoint-epoch2.pt").exists()


@pytest.mark.parametrize("keep_best", [1, 2])
@pytest.mark.parametrize("fails", [False, True])
def test_nothing_moves_before_the_file_is_durable(tmp_path, gate, monkeypatch, keep_best, fails):
    options = TrainerOptions(epochs=9, async_save=True, keep_last=1, keep_best=keep_best)
    saver = Saver(tmp_path, options, LOGGER)

    def save(epoch: int) -> None:
        saver.enter_best("max", float(epoch), epoch)
        state = {"epoch": epoch, "state_dict": {"w": torch.full((9,), float(epoch))}}
        saver.save(lambda: state, f"checkpoint-epoch{epoch}.pt", epoch, best=True)

    gate.set()
    save(1)
    saver.wait()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    gate.clear()
    save(2)
    time.sleep(0.1)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    if fails:
        monkeypatch.setattr(
            os,
            "fsync",
            lambda handle: (_ for _ in ()).throw(OSError(28, "No space left on device")),
        )
    gate.set()
    if fails:
        with pytest.raises(UserError, match="No space left"):
            saver.wait()
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
        return
    saver.wait()
    own = [f"model_best-epoch{epoch}.pt" for epoch in (1, 2)] if keep_best == 2 else []
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        ["checkpoint-epoch2.pt", "model_best.pt", *own]
    )
    assert load(tmp_path / "model_best.pt")["epoch"] == 2


def by_itself(trainer: Any) -> None:
    trainer.train()


def by_a_request(trainer: Any) -> None:
    begin = trainer._begin_epoch
    trainer._begin_epoch = lambda epoch: (begin(epoch), setattr(trainer.stop, "status", 75))
    trainer.train()
    assert trainer.stop.status == 75


def by_an_error(trainer: Any, error: type[BaseException] = ValueError) -> None:
    step = trainer.train_step

    def wrong(batch: Any) -> Any:
        if trainer.steps_done() == 6:
            raise error("wrong")
        return step(batch)

    trainer.train_step = wrong
    with pytest.raises(error):
        trainer.train()


def by_an_interrupt(trainer: Any) -> None:
    by_an_error(trainer, KeyboardInterrupt)


@pytest.mark.parametrize("leave", [by_itself, by_a_request, by_an_error, by_an_interrupt])
def test_leaving_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, leave: Callable[[Any], None]
) -> None:
    save, begun = saving.save, []

    def slow(state: dict[str, Any], path: Path) -> None:
        begun.append(path)
        time.sleep(0.3)
        save(state, path)

    monkeypatch.setattr(saving, "save", slow)
    trainer = make_trainer(small_config(tmp_path, epochs=1, save_steps=4, async_save=True))
    leave(trainer)
    assert begun != []
    assert all(load(path)["step"] > 0 for path in begun)
    assert trainer._saver._thread is None
    assert not list(trainer.checkpoint_dir.glob(".*.tmp"))


def test_saves_follow_one_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save, inside, together = saving.save, [], []

    def slow(state: dict[str, Any], path: Path) -> None:
        inside.append(path)
        together.append(len(inside))
        time.sleep(0.02)
        save(state, path)
        inside.remove(path)

    monkeypatch.setattr(saving, "save", slow)
    make_trainer(small_config(tmp_path, epochs=1, save_steps=1, async_save=True)).train()
    assert set(together) == {1}
    assert len(together) == 10
