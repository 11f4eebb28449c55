"""Seeds, and random states in and out of a checkpoint."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from utils.seed import (
    get_random_state,
    get_shared_seed,
    mix_seed,
    seed_everything,
    seeding_rank,
    set_random_state,
    temporary_seed,
)


@pytest.fixture(autouse=True)
def _state() -> Iterator[None]:
    before = get_random_state()
    cudnn = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    yield
    set_random_state(before)
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = cudnn
    torch.use_deterministic_algorithms(False)


def draw() -> tuple[float, ...]:
    return random.random(), float(np.random.rand()), float(np.random.randn()), float(torch.rand(()))


# -- mixing ------------------------------------------------------------------------------


def test_a_mixed_seed_is_the_same_everywhere() -> None:
    # A change of this number would change the order of the samples in every run.
    assert mix_seed(123, 4, 1) == mix_seed(123, 4, 1)
    assert mix_seed(0) == 0xE220A8397B1DCDAF >> 1  # SplitMix64's first output for seed 0


def test_a_mixed_seed_depends_on_the_order_and_the_number_of_values() -> None:
    values = [(1, 2), (2, 1), (1,), (1, 2, 0), (1, 2, 0, 0), (0, 1, 2)]
    assert len({mix_seed(*value) for value in values}) == 6


def test_neighbouring_values_never_collide() -> None:
    values = itertools.product(range(20), repeat=3)
    assert len({mix_seed(*value) for value in values}) == 8000


def test_neighbouring_values_differ_in_all_bits() -> None:
    values = [mix_seed(123, epoch) for epoch in range(2000)]
    assert max(values) < 2**63
    assert min(values) >= 0
    for bit in range(63):
        assert 0.45 < sum(value >> bit & 1 for value in values) / len(values) < 0.55
    flipped = [(one ^ other).bit_count() for one, other in itertools.pairwise(values)]
    assert 30 < np.mean(flipped) < 33  # half of the bits


@pytest.mark.parametrize("value", [-1, 2**63, 2**64 - 1, 2**70])
def test_integers_of_any_size_can_be_mixed(value: int) -> None:
    assert 0 <= mix_seed(value, 1) < 2**63
    torch.Generator().manual_seed(mix_seed(value, 1))


# -- seeding -----------------------------------------------------------------------------


def test_a_seed_determines_all_three_generators() -> None:
    seed_everything(7)
    first = draw()
    seed_everything(7)
    assert draw() == first
    seed_everything(8)
    assert all(a != b for a, b in zip(draw(), first, strict=True))


@pytest.mark.parametrize("seed", [0, 2**32, 2**63 - 1])
def test_a_seed_may_have_more_than_32_bits(seed: int) -> None:
    seed_everything(seed)


@pytest.mark.parametrize("deterministic", [True, False])
def test_cudnn_is_deterministic_on_request(deterministic: bool) -> None:
    seed_everything(1, deterministic)
    assert torch.backends.cudnn.deterministic is deterministic
    assert torch.backends.cudnn.benchmark is not deterministic


def test_ranks_draw_other_numbers_and_rank_0_those_of_a_single_process() -> None:
    drawn = []
    for rank in range(3):
        seed_everything(7)
        with seeding_rank(7, rank):
            assert get_shared_seed() == 7
        assert get_shared_seed() == 7
        drawn.append(draw())
    seed_everything(7)
    assert draw() == drawn[0]
    assert all(len(set(values)) == 3 for values in zip(*drawn, strict=True))


def test_a_temporary_seed_determines_all_three_generators() -> None:
    with temporary_seed(5):
        first = draw()
    draw()
    with temporary_seed(5):
        assert draw() == first
    with temporary_seed(6):
        assert all(a != b for a, b in zip(draw(), first, strict=True))


def test_after_a_temporary_seed_all_three_generators_continue() -> None:
    seed_everything(7)
    expected = draw()
    seed_everything(7)
    with temporary_seed(5):
        draw()
    assert draw() == expected


def test_after_an_error_under_a_temporary_seed_they_continue_too() -> None:
    seed_everything(7)
    expected = draw()
    seed_everything(7)
    with pytest.raises(RuntimeError), temporary_seed(5):
        raise RuntimeError
    assert draw() == expected


def test_temporary_seeds_can_be_nested() -> None:
    with temporary_seed(1):
        expected = draw(), draw()
    with temporary_seed(1):
        first = draw()
        with temporary_seed(2):
            draw()
        assert (first, draw()) == expected


# -- the state ---------------------------------------------------------------------------


def test_a_random_state_survives_a_checkpoint_that_is_loaded_without_pickle(tmp_path: Path) -> None:
    seed_everything(7)
    np.random.randn()  # draws two numbers and keeps one for later
    random.gauss(0, 1)  # does so too
    torch.save({"random": get_random_state()}, tmp_path / "state.pt")
    expected = [draw() for _ in range(3)], random.gauss(0, 1)
    seed_everything(99)
    set_random_state(torch.load(tmp_path / "state.pt", weights_only=True)["random"])
    assert ([draw() for _ in range(3)], random.gauss(0, 1)) == expected


def test_a_random_state_holds_tensors_and_plain_values_only() -> None:
    def kinds(value: Any) -> set[type]:
        if isinstance(value, dict):
            return set().union(*map(kinds, value.values()))
        if isinstance(value, list | tuple):
            return set().union(*map(kinds, value)) if value else set()
        return {type(value)}

    assert kinds(get_random_state()) <= {int, float, str, bool, type(None), torch.Tensor}


def test_reading_the_state_draws_nothing() -> None:
    seed_everything(7)
    expected = draw()
    seed_everything(7)
    get_random_state()
    assert draw() == expected


def sum_by_row() -> torch.Tensor:
    """The gradient of indexing, which sums many rows into few."""
    seed_everything(0)
    table = torch.zeros(50, 16, requires_grad=True)
    index = torch.randint(50, (100_000,))
    (table[index] * torch.randn(100_000, 16)).sum().backward()
    assert table.grad is not None
    return table.grad


def test_sums_of_several_threads_are_the_same_in_every_run() -> None:
    """Without deterministic algorithms, the threads of the CPU add in an order of chance."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        first = sum_by_row()
        assert all(torch.equal(sum_by_row(), first) for _ in range(5))
    finally:
        torch.set_num_threads(num_threads)


class TwoAccelerators:
    """A module like ``torch.cuda``, whose random states are numbers."""

    def __init__(self) -> None:
        self.__name__ = "torch.two"
        self.states = [3, 4]

    def is_initialized(self) -> bool:
        return True

    def device_count(self) -> int:
        return len(self.states)

    def get_rng_state_all(self) -> list[int]:
        return list(self.states)

    def set_rng_state_all(self, states: list[int]) -> None:
        self.states[: len(states)] = states


@pytest.fixture
def accelerators(monkeypatch: pytest.MonkeyPatch) -> TwoAccelerators:
    module = TwoAccelerators()
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda **_: "two")
    monkeypatch.setattr(torch, "get_device_module", lambda _: module)
    return module


def test_the_random_states_of_all_accelerators_are_kept(accelerators: TwoAccelerators) -> None:
    saved = get_random_state()
    accelerators.states[:] = [7, 8]
    set_random_state(saved)
    assert accelerators.states == [3, 4]


def test_random_states_of_fewer_or_other_accelerators_are_left_out(
    accelerators: TwoAccelerators,
) -> None:
    saved = get_random_state()
    accelerators.states[:] = [7]
    set_random_state(saved)
    assert accelerators.states == [3]
    accelerators.__name__ = "torch.other"
    accelerators.states[:] = [7]
    set_random_state(saved)
    assert accelerators.states == [7]


def test_an_accelerator_that_is_not_in_use_is_not_started(
    accelerators: TwoAccelerators, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TwoAccelerators, "is_initialized", lambda _: False)
    assert get_random_state()["accelerators"] is None
