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
    mix_seed,
    seed_everything,
    seed_rank,
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
        seed_rank(7, rank)
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


# -- accelerators ------------------------------------------------------------------------


@pytest.mark.parametrize("is_in_use", [False, True])
def test_a_run_on_the_cpu_leaves_the_accelerator_of_the_machine_alone(
    monkeypatch: pytest.MonkeyPatch, is_in_use: bool
) -> None:
    """A call of torch.cuda's random functions takes memory of the card, and forbids to fork."""
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: is_in_use)
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda: torch.ones(1))
    restored: list[Any] = []
    monkeypatch.setattr(torch.cuda, "set_rng_state", restored.append)
    state = get_random_state()
    assert (state["accelerator"] is not None) == is_in_use
    set_random_state(state | {"accelerator": torch.ones(1)})
    assert len(restored) == is_in_use
