"""A resumed loader gives the same batches, also if samplers and datasets keep random state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from base import BaseDataLoader
from tests.base.data import samplers
from tests.base.data.datasets import Noisy, list_values, numbers
from tests.base.data.samplers import Drawing, Endless, Order, Stateful, Stream, make_nested

LOADERS: dict[str, Callable[[], BaseDataLoader]] = {
    "torch": lambda: BaseDataLoader(numbers(), 3, sampler=Order("torch")),
    "numpy": lambda: BaseDataLoader(numbers(), 3, sampler=Order("numpy")),
    "legacy": lambda: BaseDataLoader(numbers(), 3, sampler=Order("legacy")),
    "python": lambda: BaseDataLoader(numbers(), 3, sampler=Order("python")),
    "nested": lambda: BaseDataLoader(numbers(), 3, sampler=Order("nested")),
    "counter": lambda: BaseDataLoader(numbers(), 3, sampler=Order("counter")),
    "module": lambda: BaseDataLoader(numbers(), 3, sampler=Order("module")),
    "stateful": lambda: BaseDataLoader(numbers(), 3, sampler=Stateful()),
    "inside a batch sampler": lambda: BaseDataLoader(numbers(), 3, batch_sampler=make_nested()),
    "dataset": lambda: BaseDataLoader(Drawing(), 3),
    "dataset and workers": lambda: BaseDataLoader(Drawing(), 3, num_workers=2),
    "stream": lambda: BaseDataLoader(Stream(), 3),
    "stream of shared numbers": lambda: BaseDataLoader(Stream(has_generator=False), 3),
    "stream and a worker": lambda: BaseDataLoader(Stream(), 3, num_workers=1),
}


def take(loader: BaseDataLoader, count: int) -> list[Any]:
    batches = iter(loader)
    return [to_plain(next(batches)) for _ in range(count)]


def to_plain(batch: Any) -> Any:
    return batch.tolist() if isinstance(batch, torch.Tensor) else list_values([batch])[0]


def list_pass(loader: BaseDataLoader) -> list[Any]:
    return [to_plain(batch) for batch in loader]


@pytest.mark.parametrize("name", LOADERS)
@pytest.mark.parametrize("done", [0, 2, 4])
def test_a_resumed_loader_gives_the_rest_and_the_next_pass(name: str, done: int) -> None:
    def make() -> BaseDataLoader:
        """What a new process has."""
        torch.manual_seed(1)
        samplers.SHARED.bit_generator.state = np.random.default_rng(3).bit_generator.state
        return LOADERS[name]()

    loader = make()
    list_pass(loader)
    take(loader, done)
    state = loader.state_dict()
    loader = make()
    list_pass(loader)
    expected, following = list_pass(loader), list_pass(loader)
    resumed = make()
    resumed.load_state_dict(state)
    if done < 4 or name.startswith("stream"):
        assert list_pass(resumed) == expected[done:]
    assert list_pass(resumed) == following


def test_endless_samplers_are_drawn_as_far_as_needed() -> None:
    loader = BaseDataLoader(numbers(), 4, sampler=Endless())
    expected = take(loader, 30)
    assert sorted(i for batch in expected[:5] for i in batch[0]) == sorted([*range(10)] * 2)
    loader = BaseDataLoader(numbers(), 4, sampler=Endless())
    take(loader, 17)
    state = loader.state_dict()
    loader = BaseDataLoader(numbers(), 4, sampler=Endless())
    loader.load_state_dict(state)
    assert take(loader, 13) == expected[17:]


def test_workers_change_nothing_if_a_dataset_keeps_generators() -> None:
    passes = []
    for num_workers in (0, 2):
        torch.manual_seed(1)
        loader = BaseDataLoader(Drawing(), 2, num_workers=num_workers)
        passes.append([list_pass(loader), list_pass(loader)])
    assert passes[0] == passes[1]
    drawn = [str(sample) for batches in passes[0] for batch in batches for sample in batch[1]]
    assert len(set(drawn)) == 20


def test_state_that_cannot_be_saved_is_named_once(caplog: pytest.LogCaptureFixture) -> None:
    loader = BaseDataLoader(numbers(), 4, sampler=Order("system"))
    list_pass(loader), list_pass(loader)
    (line,) = caplog.messages
    assert line == (
        "A resumed run will not have the same bits, because Order draws from the system's entropy "
        "in `rng`."
    )
    caplog.clear()
    list_pass(BaseDataLoader(Noisy(), 4))
    assert caplog.messages == []
