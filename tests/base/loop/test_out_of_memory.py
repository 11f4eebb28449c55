"""A batch that does not fit into memory ends the run with one line; a smaller one trains alike."""

from __future__ import annotations

import json
import multiprocessing
import resource
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import train
from tests.base.loop.small_memory import MESSAGE, limit_memory
from tests.base.run_folders import restored_root_logger
from tests.helpers import differences, load, make_trainer, parsed, small_config
from utils.checkpoints import list_checkpoints
from utils.failure import user_error_from
from utils.main import run_main

SETTINGS = (
    "the batch_size of the data loader",
    "trainer.accumulation_steps",
    "trainer.precision: bf16",
)


def mlp_config(folder: Path, **trainer: Any) -> dict[str, Any]:
    """A model without batch norms, which would see smaller batches."""
    arch = {"type": "mlp.MLP", "args": {"in_features": 64, "out_features": 10}}
    return small_config(folder, **trainer) | {"arch": arch}


@pytest.fixture(autouse=True)
def _root_logger() -> Iterator[None]:
    with restored_root_logger():
        yield


@pytest.fixture
def run_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Any:
    """Calls ``train.py`` in this process; returns the exit status and what it wrote."""

    def run_program(limit: Any, *words: str | Path) -> tuple[int, str, str]:
        make = train.make_trainer
        monkeypatch.setattr(train, "make_trainer", lambda *args: limit(make(*args)))
        status = 0
        try:
            run_main(lambda: train.main(parsed(*words), None))
        except SystemExit as end:
            status = int(end.code or 0)
        finally:
            monkeypatch.setattr(train, "make_trainer", make)
        return (status, *capsys.readouterr())

    (tmp_path / "c.json").write_text(json.dumps(mlp_config(tmp_path, epochs=2)))
    return run_program


# -- how the run ends -----------------------------------------------------------------------------


@pytest.mark.parametrize("in_backward", [False, True])
def test_a_lack_of_memory_ends_the_run_with_one_line_and_the_checkpoint_before_is_intact(
    tmp_path: Path, run_program: Any, in_backward: bool
) -> None:
    def limit(trainer: Any) -> Any:
        return limit_memory(trainer, 100, in_backward, after_step=9 + 4)  # in the second epoch

    start = ("--config", tmp_path / "c.json", "--run-id", "run")
    status, out, err = run_program(limit, *start)
    assert (status, "Traceback" in out + err) == (2, False)
    (line,) = err.splitlines()
    assert line.startswith("out of memory: ")
    assert line.endswith(f"; {MESSAGE}")
    for setting in SETTINGS:
        assert setting in line

    folder = tmp_path / "small/run"
    assert [path.name for path in list_checkpoints(folder)] == ["checkpoint-epoch1.pt"]
    (session,) = json.loads((folder / "provenance.json").read_text())["sessions"]
    assert session["outcome"] == f"failed: OutOfMemoryError: {MESSAGE}"
    good = make_trainer(mlp_config(tmp_path, epochs=2), "good")
    limit_memory(good, 10**9).train()
    states = [load(tmp_path / f"small/{name}/checkpoint-epoch1.pt") for name in ("run", "good")]
    assert differences(*states) == []

    advice = ["data_loader.args.batch_size=64", "trainer.accumulation_steps=2"]
    status, out, err = run_program(limit, "--resume", folder, *advice)
    assert status == 0, err
    assert load(folder / "checkpoint-epoch2.pt")["step"] == 2 * 9


def test_other_errors_keep_their_traceback(tmp_path: Path, run_program: Any) -> None:
    def break_loss(trainer: Any) -> Any:
        trainer.criterion = lambda *_: torch.ones(2) @ torch.ones(3)
        return limit_memory(trainer, 10**9)

    with pytest.raises(RuntimeError, match="size"):
        run_program(break_loss, "--config", tmp_path / "c.json", "--run-id", "run")


@pytest.mark.parametrize(
    "text",
    [
        "unsupported memory format option Preserve",
        "CUDA error: an illegal memory access was encountered",
        "shared memory (shm) is not large enough",
        "index out of range in self",
    ],
)
def test_an_error_about_memory_is_not_always_a_lack_of_it(text: str) -> None:
    assert user_error_from(RuntimeError(text)) is None


def run_with_little_memory(config: Path, output: Path) -> None:
    """A process that may allocate 500 MB more when its first batch is trained on."""

    def limit(trainer: Any) -> Any:
        def before_forward(*_: Any) -> None:
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            size = pages * resource.getpagesize() + (500 << 20)
            resource.setrlimit(resource.RLIMIT_AS, (size, resource.RLIM_INFINITY))

        trainer.model.register_forward_pre_hook(before_forward)
        return limit_memory(trainer, 10**9)

    sys.stdout, sys.stderr = (output / "out").open("w"), (output / "err").open("w")
    make = train.make_trainer
    train.make_trainer = lambda *args: limit(make(*args))
    run_main(lambda: train.main(parsed("--config", config), None))


def test_a_process_without_memory_reports_it_too(tmp_path: Path) -> None:
    """The activations of the batch take 1.8 GB: the error is one of torch's allocator."""
    config = mlp_config(tmp_path, epochs=1, keep_memory=False)
    config["data_loader"]["args"]["batch_size"] = 1151
    config["arch"]["args"]["hidden"] = [400_000]
    config["optimizer"] = {"type": "SGD", "args": {"lr": 0.1}}
    (tmp_path / "c.json").write_text(json.dumps(config))
    fork = multiprocessing.get_context("fork")
    process = fork.Process(target=run_with_little_memory, args=(tmp_path / "c.json", tmp_path))
    process.start()
    process.join(60)
    process.kill()  # if it hangs
    (line,) = (tmp_path / "err").read_text().splitlines()
    assert process.exitcode == 2
    assert line.startswith("out of memory: ")
    assert "can't allocate memory" in line
    for setting in SETTINGS:
        assert setting in line


# -- a smaller batch trains alike -----------------------------------------------------------------


def list_gradients(folder: Path, batch_size: int, accumulation: int) -> list[torch.Tensor]:
    """The gradients that the optimizer gets in an epoch."""
    config = mlp_config(folder, epochs=1, accumulation_steps=accumulation)
    config["data_loader"]["args"]["batch_size"] = batch_size
    config["optimizer"] = {"type": "SGD", "args": {"lr": 0.1}}
    trainer = limit_memory(make_trainer(config, f"of{batch_size}"), 10**9)
    found: list[torch.Tensor] = []

    def note(*_: Any) -> None:
        found.append(torch.cat([p.grad.flatten() for p in trainer.model.parameters()]))

    trainer.optimizer.register_step_pre_hook(note)
    trainer.train()
    return found


def test_accumulation_makes_up_for_a_smaller_batch(tmp_path: Path) -> None:
    large, small = list_gradients(tmp_path, 128, 1), list_gradients(tmp_path, 64, 2)
    assert len(large) == len(small) == 9
    # The last batch has 127 samples, which cannot be halved.
    for expected, found in zip(large[:-1], small[:-1], strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
