"""DDP gives the numbers of one process, whatever the number of ranks."""

from __future__ import annotations

import pytest
import torch

from tests.base.parallel.spread_runs import check_same_lines, table_config, train
from tests.helpers import load, make_trainer
from tests.ranks import in_ranks

# Options of the trainer, and arguments of the loader.
CASES = {
    "plain": ({}, {}),
    "accumulation": ({"accumulation_steps": 3}, {"batch_size": 50}),
    "clipping and EMA": ({"grad_clip_norm": 0.1, "ema_decay": 0.9}, {"batch_size": 101}),
    "clipping by value and SWA": ({"grad_clip_value": 0.01, "swa": {}}, {"batch_size": 101}),
    "warm-up": ({"warmup_steps": 5, "accumulation_steps": 2}, {"batch_size": 64}),
    "len_epoch": ({"len_epoch": 7}, {}),
    "two workers": ({}, {"num_workers": 2}),
    "a last batch of one sample": ({}, {"batch_size": 363}),
    "a last validation batch of one sample": ({}, {"validation_split": 33}),
}
FOUR_RANKS = [  # the other cases do not depend on the number of ranks
    pytest.param(case, 4, marks=() if "sample" in case else pytest.mark.slow) for case in CASES
]


@pytest.mark.parametrize(("case", "ranks"), [*((case, 2) for case in CASES), *FOUR_RANKS])
def test_several_ranks_have_the_loss_curve_of_one_process(tmp_path, case, ranks):
    trainer, loader = CASES[case]
    config = table_config(tmp_path, **{"epochs": 2, "monitor": "min val_loss"} | trainer)
    config["data_loader"]["args"] |= loader
    one, several = tmp_path / "small/one", tmp_path / "small/several"
    assert train(config, "one") == "MLP"
    assert in_ranks(ranks, train, config, "several") == ["DistributedDataParallel"] * ranks
    check_same_lines(several, one)
    weights = load(one / "model_best.pt")["state_dict"]
    found = load(several / "model_best.pt")["state_dict"]
    for name, value in weights.items():
        torch.testing.assert_close(found[name], value, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    "section",
    [{"freeze": 1, "thaw": [{"epoch": 2, "params": "*"}]}, {"freeze": 1, "cache_features": True}],
    ids=["thawed parameters", "cached features"],
)
def test_transfer_gives_the_numbers_of_one_process(tmp_path, section):
    """The gradients of thawed parameters are averaged, too; cached features are divided."""
    config = table_config(tmp_path, epochs=3) | {"transfer": section}
    train(config, "one")
    in_ranks(2, train, config, "two")
    check_same_lines(tmp_path / "small/two", tmp_path / "small/one")


def test_gradients_are_averaged_only_before_a_step(tmp_path):
    config = table_config(tmp_path, epochs=1, accumulation_steps=3)
    steps = 12 // 3  # of 12 batches
    assert in_ranks(2, count_averages, config) == [(steps, steps)] * 2


def count_averages(config):
    """The forward passes after which DDP averages the gradients, and the steps."""
    trainer = make_trainer(config)
    averages = []

    def watch(*_):
        averages.append(trainer.model.require_backward_grad_sync)

    trainer.model.register_forward_pre_hook(watch)
    trainer.train()
    return sum(averages), trainer.progress.step


def test_ranks_have_the_same_weights_and_other_random_numbers(tmp_path):
    config = table_config(tmp_path)
    config["arch"]["args"]["dropout"] = 0.5
    (numbers, weights), (other_numbers, other_weights) = in_ranks(2, draw, config)
    assert numbers != other_numbers
    assert weights == other_weights


def draw(config):
    """Random numbers of a rank, such as dropout draws, and the sums of its weights."""
    trainer = make_trainer(config)
    weights = [parameter.sum().item() for parameter in trainer.model.parameters()]
    return torch.rand(4).tolist(), weights
