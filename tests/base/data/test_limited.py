"""``trainer.limit_batches``: only the first batches of each pass."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from base import BaseDataLoader
from base.data.limited import LimitedLoader, limit_loader
from base.data.loader import count_left
from base.loaders import make_test_loader
from base.schema import SCHEMA
from config import ConfigParser
from tests.base.checkpoint.resumed_runs import check_same_end, copy_checkpoint, read_lines
from tests.base.data.datasets import Stream, list_indices, numbers
from tests.base.parallel.spread_runs import check_same_lines, table_config, train
from tests.helpers import differences, make_trainer, small_config
from tests.ranks import in_ranks


class Unknown(Stream):
    """A stream that does not know its length."""


@pytest.mark.parametrize("num_workers", [0, 2])
def test_each_pass_has_the_first_batches_of_its_order(num_workers: int) -> None:
    full = BaseDataLoader(numbers(20), 4, num_workers=num_workers)
    limited = limit_loader(BaseDataLoader(numbers(20), 4, num_workers=num_workers), 3)
    assert (len(full), len(limited)) == (5, 3)
    for epoch in (0, 1):
        expected = list_indices(full)[:3]
        full.set_epoch(epoch + 1)
        assert list_indices(limited) == expected
        assert limited.list_batches() == expected
        limited.set_epoch(epoch + 1)


def test_a_limit_says_what_is_left_and_ends_the_pass() -> None:
    for loader in (BaseDataLoader(numbers(20), 4), BaseDataLoader(Unknown(20), 4)):
        limited = limit_loader(loader, 3)
        assert [count_left(limited, i + 1, len(limited)) for i, _ in enumerate(limited)] == [
            3,
            2,
            1,
        ]
        assert limited.state_dict()["left"] == 0  # a resumed run begins the next pass


def test_a_limit_beyond_the_data_changes_nothing() -> None:
    for limited in (limit_loader(BaseDataLoader(numbers(9), 4), 5), limit_loader([1, 2, 3], 3)):
        assert len(limited) == len(list(limited)) == 3
    loader = limit_loader(BaseDataLoader(numbers(9), 4), 5)
    assert [loader.batches_left for _ in loader] == [2, 1, 0]


@pytest.mark.parametrize("loader", [DataLoader(numbers(20), 4), [[i] for i in range(5)]])
def test_any_loader_can_be_limited_and_go_on_in_the_middle(loader: Any) -> None:
    limited = limit_loader(loader, 3)
    assert isinstance(limited, LimitedLoader)
    assert (len(limited), len(list(limited))) == (3, 3)
    limited.set_epoch(2, 1)
    assert [len(list(limited)), len(list(limited))] == [2, 3]
    limited.set_epoch(2, 4)
    assert list(limited) == []


def test_a_run_trains_validates_and_tests_on_as_many_batches(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = small_config(tmp_path, limit_batches=2, monitor="min val_loss")
    trainer = make_trainer(config)
    trainer.train()
    assert "end after 2 batches, so all results are of a part of the data" in caplog.text
    assert trainer.len_epoch == 2
    assert trainer.progress.step == 4
    assert trainer.valid_metrics.n_samples == 2 * 128
    assert (trainer.checkpoint_dir / "model_best.pt").exists()
    parser = ConfigParser(config)
    parser.check(SCHEMA)
    loader, text, _ = make_test_loader(parser)
    assert len(list(loader)) == 2
    assert text.startswith("the first 2 batches (trainer.limit_batches) of the test part")


def test_no_warning_if_all_data_are_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    trainers = [make_trainer(small_config(tmp_path, epochs=1)) for _ in range(2)]
    trainers[0].train()
    caplog.clear()
    trainers[1] = make_trainer(small_config(tmp_path, epochs=1, limit_batches=9))
    trainers[1].train()
    assert "limit_batches" not in caplog.text
    states = [trainer.model.state_dict() for trainer in trainers]
    assert differences(*states) == []


def test_iteration_mode_goes_on_in_the_data(tmp_path: Path) -> None:
    trainer = make_trainer(small_config(tmp_path, limit_batches=2, len_epoch=5))
    seen: list[torch.Tensor] = []
    trainer.model.register_forward_pre_hook(
        lambda model, args: seen.append(args[0]) if model.training else None
    )
    trainer.train()
    loader = trainer.data_loader.loader
    loader.set_epoch(0)
    assert len(seen) == 4
    assert all(torch.equal(one, batch[0]) for one, batch in zip(seen, loader, strict=False))


def test_fewer_batches_are_overfitted_than_the_limit(tmp_path: Path) -> None:
    for count, steps in ((1, 2), (9, 6)):
        config = small_config(tmp_path, limit_batches=3, debug={"overfit_batches": count})
        trainer = make_trainer(config, f"overfit{count}")
        trainer.train()
        assert trainer.progress.step == steps


def test_a_run_with_a_limit_resumes_in_the_middle_to_the_same_bits(tmp_path: Path) -> None:
    config = small_config(tmp_path, limit_batches=5, save_steps=1, accumulation_steps=2)
    train(config, "full")
    checkpoints = sorted((tmp_path / "small/full").glob("checkpoint-*-step*.pt"))
    assert len(checkpoints) == 6  # windows of 2, 2 and 1
    for path in checkpoints:
        folder = tmp_path / "small" / path.stem
        train(config, None, copy_checkpoint(path, folder))
        check_same_end(folder, tmp_path / "small/full")


def test_a_limit_may_change_at_a_resume(tmp_path: Path) -> None:
    train(small_config(tmp_path, limit_batches=4, save_steps=3), "full")
    path = tmp_path / "small/full/checkpoint-epoch1-step3.pt"
    for limit, steps in ((None, 18), (2, 5)):  # 9 batches; 3 in the first epoch, then 2
        copied = copy_checkpoint(path, tmp_path / f"small/{limit}")
        trainer = make_trainer(small_config(tmp_path, limit_batches=limit), resume=copied)
        trainer.train()
        assert trainer.progress.step == steps


def test_two_ranks_have_the_numbers_of_one(tmp_path: Path) -> None:
    config = table_config(tmp_path, epochs=2, save_steps=2, limit_batches=3, accumulation_steps=2)
    train(config, "one")
    in_ranks(2, train, config, "two")
    assert len(read_lines(tmp_path / "small/two")) == 2
    check_same_lines(tmp_path / "small/two", tmp_path / "small/one")
    path = tmp_path / "small/two/checkpoint-epoch2-step3.pt"
    path = path if path.exists() else next((tmp_path / "small/two").glob("*epoch*-step*.pt"))
    folder = tmp_path / "small/again"
    in_ranks(2, train, config, None, copy_checkpoint(path, folder))
    check_same_end(folder, tmp_path / "small/two")
