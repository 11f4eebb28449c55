"""What a training asks of its loaders, whatever their class."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
import torch
from torch.utils.data import DataLoader

from base import BaseDataLoader
from base.data.loader import (
    find_divided_loader,
    get_batch_size,
    get_rest,
    prepare_loader,
    set_position,
    unwrap_loader,
)
from base.loop.evaluate import weigh
from base.tools.first_batches import FirstBatches
from tests.base.data.datasets import Stream, list_indices, numbers
from utils.util import inf_loop

CPU = torch.device("cpu")


@pytest.mark.parametrize("wrap", [lambda x: x, inf_loop, lambda x: FirstBatches(inf_loop(x), 2)])
def test_the_divided_loader_inside_others_is_found(wrap: Any) -> None:
    loader = BaseDataLoader(numbers(), 4)
    assert unwrap_loader(wrap(loader)) is loader
    assert find_divided_loader(wrap(loader)) is loader


@pytest.mark.parametrize("loader", [None, [1, 2], DataLoader(numbers()), inf_loop([1])])
def test_a_loader_of_another_kind_does_not_divide_its_batches(loader: Any) -> None:
    assert find_divided_loader(loader) is None
    assert weigh(torch.ones(2), None, loader, None) == 1.0


def test_a_loader_tells_the_samples_of_its_last_batch() -> None:
    loader = BaseDataLoader(numbers(10), 4)
    assert [get_batch_size(loader) for _ in loader] == [4, 4, 2]
    repeated = inf_loop(loader)
    assert [get_batch_size(repeated) for _, _ in zip(range(4), repeated, strict=False)] == [
        4,
        4,
        2,
        4,
    ]
    stream = BaseDataLoader(Stream(10), 4)
    assert [get_batch_size(stream) for _ in stream] == [4, 4, 2]
    assert get_batch_size(FirstBatches(loader, 1)) is None
    assert get_batch_size([1, 2]) is None


def test_a_prepared_loader_transforms_its_batches_on_the_device() -> None:
    meta = torch.device("meta")
    loader = BaseDataLoader(numbers(4), 2, batch_transform=torch.nn.Identity())
    assert prepare_loader(inf_loop(loader), "data_loader", meta).loader is loader
    assert [batch[0].device for batch in loader] == [meta] * 2


def test_one_process_may_use_any_loader() -> None:
    for loader in (DataLoader(numbers()), [1, 2], None):
        assert prepare_loader(loader, "data_loader", CPU) is loader


# -- the position ---------------------------------------------------------------------------------


def test_an_epoch_begins_at_any_batch_of_a_loader_that_can() -> None:
    torch.manual_seed(1)
    loader, other = BaseDataLoader(numbers(), 4), BaseDataLoader(numbers(), 4)
    set_position(loader, 3)
    full_pass = list_indices(loader)
    set_position(other, 3, 1)
    assert list_indices(other) == full_pass[1:]


def test_a_loader_of_another_library_gets_the_epoch_at_its_start() -> None:
    class Foreign:
        epochs: ClassVar[list[int]] = []

        def set_epoch(self, epoch: int) -> None:
            self.epochs.append(epoch)

    loader = Foreign()
    set_position(loader, 3)
    set_position(loader, 4, batch=2)  # it cannot begin there
    assert loader.epochs == [3]


def test_a_loader_without_epochs_begins_as_it_likes() -> None:
    for loader in (None, [1, 2], inf_loop([1])):
        set_position(loader, 3)


def test_a_resumed_epoch_of_another_loader_leaves_out_what_was_trained_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    loader = DataLoader(range(8), 2)
    random_state = torch.get_rng_state()
    rest = get_rest(loader, 3, 4)
    assert [batch.tolist() for batch in rest] == [[6, 7]]
    assert torch.equal(torch.get_rng_state(), random_state)
    assert caplog.text.count("a BaseDataLoader resumes exactly") == 1
    assert list(get_rest(loader, 4, 4)) == []
    assert len(list(get_rest(loader, 3, 2))) == 1  # the length is an estimate
    assert get_rest(loader, 0, 4) is loader
