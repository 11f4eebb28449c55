"""Streams with workers: each sample once, and a resume by the stream's own state."""

from __future__ import annotations

import io
import itertools
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from base import BaseDataLoader
from base.data.stream_state import MIN_INTERVAL_BATCHES
from tests.base.data.datasets import list_values
from tests.base.data.streams import ByWorker, Counting, Plain, Sharded, Stateful, Uneven
from utils.errors import UserError
from utils.verify_resume import find_differences

STREAMS: dict[str, Callable[[], Any]] = {
    "not divided": lambda: Plain(shuffled=True),
    "divided among workers": ByWorker,
    "shard": Sharded,
    "uneven shards": Uneven,
    "stateful": lambda: Stateful(203),
    "stateful, not divided": lambda: Stateful(203, shared=True),
}


def make(stream: str, num_workers: int, **options: Any) -> BaseDataLoader:
    torch.manual_seed(1)
    return BaseDataLoader(STREAMS[stream](), 4, num_workers=num_workers, **options)


def list_numbers(batches: Any) -> list[int]:
    return list(itertools.chain.from_iterable(batch[0].tolist() for batch in batches))


def save_and_load(state: dict[str, Any]) -> dict[str, Any]:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    loaded: dict[str, Any] = torch.load(file, weights_only=True)
    return loaded


@pytest.mark.parametrize("num_workers", [0, 1, 2])
@pytest.mark.parametrize("stream", STREAMS)
def test_a_pass_has_each_sample_once(stream: str, num_workers: int) -> None:
    loader = make(stream, num_workers)
    for _ in range(2):
        assert sorted(list_numbers(loader)) == list(range(STREAMS[stream]().n))


def test_a_stream_that_is_not_divided_is_the_same_with_workers(
    caplog: pytest.LogCaptureFixture,
) -> None:
    passes = [list_values(make("not divided", num_workers)) for num_workers in (0, 2)]
    assert passes[0] == passes[1]
    assert caplog.messages == [
        "data_loader: Plain does not divide its samples: each of 2 workers reads all of them and "
        "keeps its own, so reading costs 2 times as much. Give it a method shard(num_shards, "
        "index), or see stream_sharding."
    ]


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("kills", [(3, 2), (1, 8), (20, 18)])
@pytest.mark.parametrize("stream", STREAMS)
def test_a_pass_that_is_killed_twice_has_the_same_bits(
    stream: str, kills: tuple[int, int], num_workers: int
) -> None:
    straight = make(stream, num_workers)
    list(straight)
    expected = list_values(straight)
    following = list_values(straight)
    if sum(kills) >= len(expected):
        return
    loader = make(stream, num_workers)
    list(loader)
    taken = []
    for count in kills:
        taken += list_values(itertools.islice(loader, count))
        state = save_and_load(loader.state_dict())
        loader = make(stream, num_workers)
        loader.load_state_dict(state)
    straight = make(stream, num_workers)
    list(straight)
    batches = iter(straight)
    list(itertools.islice(batches, sum(kills)))
    assert list(find_differences(straight.state_dict(), state)) == []
    assert taken + list_values(loader) == expected
    assert list_values(loader) == following


@pytest.mark.parametrize("done", [1, 5, 40])
def test_a_stream_with_a_state_reads_only_what_came_after_its_last_snapshot(done: int) -> None:
    loader = make("stateful", 0)
    list(itertools.islice(loader, done))
    resumed = make("stateful", 0)
    resumed.load_state_dict(loader.state_dict())
    next(iter(resumed))
    assert resumed.dataset.reads <= 4 * (MIN_INTERVAL_BATCHES + 1)  # type: ignore[attr-defined]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_stream_with_a_state_goes_on_with_batches_of_another_size(num_workers: int) -> None:
    loader = make("stateful", num_workers)
    taken = list_numbers(itertools.islice(loader, 7))
    torch.manual_seed(1)
    resumed = BaseDataLoader(Stateful(203), 5, num_workers=num_workers)
    resumed.load_state_dict(save_and_load(loader.state_dict()))
    assert sorted(taken + list_numbers(resumed)) == list(range(203))


def test_a_stream_that_is_not_divided_goes_on_with_other_workers(
    caplog: pytest.LogCaptureFixture,
) -> None:
    loader = make("stateful, not divided", 2)
    expected = list_numbers(loader)
    loader = make("stateful, not divided", 2)
    taken = list_numbers(itertools.islice(loader, 7))
    state = save_and_load(loader.state_dict())
    caplog.clear()
    for num_workers in (0, 3):
        resumed = make("stateful, not divided", num_workers)
        resumed.load_state_dict(state)
        assert taken + list_numbers(resumed) == expected
    assert not any("come twice" in message for message in caplog.messages)


def test_a_state_that_cannot_be_saved_is_named_and_not_needed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def make_unsaved() -> BaseDataLoader:
        torch.manual_seed(1)
        return BaseDataLoader(Stateful(kind=object()), 4)

    loader = make_unsaved()
    expected = list_values(loader)
    loader = make_unsaved()
    taken = list_values(itertools.islice(loader, 3))
    resumed = make_unsaved()
    resumed.load_state_dict(save_and_load(loader.state_dict()))
    assert taken + list_values(resumed) == expected
    assert caplog.messages[0] == (
        "The state of Stateful cannot be used: it holds a object. A resumed run reads up to its "
        "position."
    )


class Random(Plain):
    """Draws from the system's entropy."""

    def __iter__(self) -> Iterator[torch.Tensor]:
        generator = torch.Generator()
        generator.seed()
        for _ in range(8):
            yield torch.rand(1, generator=generator)


def test_workers_of_a_stream_of_random_numbers_all_count() -> None:
    loader = BaseDataLoader(Random(), 4, num_workers=2)
    assert sum(map(len, loader)) == 16


@pytest.mark.parametrize(("sharding", "count"), [("dataset", 80), ("samples", 40), (None, 40)])
def test_stream_sharding_decides(sharding: Any, count: int) -> None:
    loader = make("not divided", 2, stream_sharding=sharding)
    assert len(list_numbers(loader)) == count
    loader = make("divided among workers", 2, stream_sharding=sharding)
    assert sorted(list_numbers(loader)) == list(range(40))


def test_arguments_that_do_not_fit_a_stream_are_refused() -> None:
    for options in ({"stream_sharding": "both"}, {"sampler": [1]}, {"batch_sampler": [[1]]}):
        with pytest.raises(UserError) as caught:
            BaseDataLoader(Plain(), 4, **options)  # type: ignore[arg-type]
        assert caught.value.problems[0].key == next(iter(options))
    with pytest.raises(UserError, match=r"^stream_sharding: only an iterable dataset takes it$"):
        BaseDataLoader([1, 2], 4, stream_sharding="samples")


@pytest.mark.parametrize("num_workers", [0, 2])
def test_an_error_of_a_stream_is_raised(num_workers: int) -> None:
    class Broken(Plain):
        def __iter__(self) -> Iterator[Any]:
            yield from range(5)
            raise ValueError("a damaged shard")

    with pytest.raises(ValueError, match="a damaged shard"):
        list(BaseDataLoader(Broken(), 2, num_workers=num_workers))


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("first", [0, 5])
def test_an_error_of_a_stream_names_the_batch(first: int, num_workers: int) -> None:
    class Lines(Plain):
        def __iter__(self) -> Iterator[Any]:
            yield from range(first)
            raise self.error

        error: Exception = FileNotFoundError("no file shard.jsonl")

    stream = Lines()
    text = f"batch {first // 2 + 1} of Lines"
    with pytest.raises(UserError) as caught:
        list(BaseDataLoader(stream, 2, num_workers=num_workers))
    assert f"data_loader: {text} cannot be read: no file shard.jsonl" in str(caught.value)
    stream.error = ValueError("a damaged line")
    with pytest.raises(ValueError, match="a damaged line") as other:
        list(BaseDataLoader(stream, 2, num_workers=num_workers))
    assert f"while reading {text}" in "".join(traceback.format_exception(other.value))


@pytest.mark.parametrize("num_workers", [0, 1, 2])
def test_a_stream_that_counts_samples_continues(num_workers: int) -> None:
    def make_loader() -> BaseDataLoader:
        return BaseDataLoader(Counting(), 4, num_workers=num_workers)

    expected = list_values(make_loader())
    assert sorted(itertools.chain(*expected)) == list(range(40))
    loader = make_loader()
    taken = list_values(itertools.islice(loader, 3))
    state = loader.state_dict()
    loader = make_loader()
    loader.load_state_dict(state)
    assert taken + list_values(loader) == expected
    if num_workers == 0:
        assert loader.dataset.reads == 40 - 12 + 1  # type: ignore[attr-defined]
    assert list_values(loader) == expected
