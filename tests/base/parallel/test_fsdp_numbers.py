"""FSDP: the numbers, the checkpoints and the bits of a model that is not sharded."""

from __future__ import annotations

import pytest
import torch

from tests.base.checkpoint.resumed_runs import load_last, read_lines
from tests.base.parallel.spread_runs import (
    FSDP_SECTION,
    check_same_lines,
    table_config,
    train,
    train_sharded,
)
from tests.helpers import make_trainer
from tests.ranks import in_ranks

FROZEN = {"freeze": 1, "thaw": [{"epoch": 2, "params": "*"}]}
# Options of the trainer, arguments of the loader, sections of the config.
CASES = {
    "plain, one block": ({}, {}, {"parallel": {"type": "fsdp"}}),
    "accumulation": ({"accumulation_steps": 3}, {"batch_size": 50}, {}),
    "clipping": ({"grad_clip_norm": 0.1}, {"batch_size": 101}, {}),
    "clipping by value": ({"grad_clip_value": 0.01}, {"batch_size": 101}, {}),
    "warm-up": ({"warmup_steps": 5, "accumulation_steps": 2}, {"batch_size": 64}, {}),
    "a last batch of one sample": ({}, {"batch_size": 363}, {}),
    "a last validation batch of one sample": ({}, {"validation_split": 33}, {}),
    "thawed parameters": ({"epochs": 3}, {}, {"transfer": FROZEN}),
    "cached features": ({}, {}, {"transfer": {"freeze": 1, "cache_features": True}}),
}
REPEATED = pytest.mark.slow  # other optimizers that compute elementwise, like SGD
OPTIMIZERS = [
    pytest.param("SGD", {"momentum": 0.9, "nesterov": True}),
    pytest.param("AdamW", {"fused": False}),
    pytest.param("Adagrad", {}),  # which has a state before the first step
    pytest.param("ASGD", {}),  # whose state has the most tensors
    pytest.param("NAdam", {}, marks=REPEATED),
    pytest.param("RAdam", {}, marks=REPEATED),
    pytest.param("Adamax", {}, marks=REPEATED),
    pytest.param("Adadelta", {}, marks=REPEATED),
    pytest.param("RMSprop", {"momentum": 0.5}, marks=REPEATED),
]


def check_same_as_one_process(path, config, ranks=2, rel=1e-4):
    """Trains a full model in one process, and shards in several: the same numbers and files."""
    train({key: value for key, value in config.items() if key != "parallel"}, "one")
    found = in_ranks(ranks, train_sharded, config, "sharded")
    assert found == [(4, False)] * ranks
    check_same_lines(path / "small/sharded", path / "small/one", rel)
    one, sharded = load_last(path / "small/one"), load_last(path / "small/sharded")
    assert one.keys() == sharded.keys()
    assert one["arch"] == sharded["arch"]
    check_close(sharded["state_dict"], one["state_dict"], rel)
    states, expected = sharded["optimizer"]["state"], one["optimizer"]["state"]
    assert states.keys() == expected.keys()
    for number, state in expected.items():
        check_close(states[number], state, rel)


def check_close(found, expected, rel):
    """Two dicts have plain tensors and numbers under the same names, equal up to rounding."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert type(found[name]) is type(value)
        torch.testing.assert_close(found[name], value, rtol=10 * rel, atol=rel)


@pytest.mark.parametrize("case", CASES)
def test_the_loss_curve_and_the_checkpoint_are_those_of_one_process(tmp_path, case):
    trainer, loader, sections = CASES[case]
    config = table_config(tmp_path, **{"epochs": 2} | trainer) | FSDP_SECTION | sections
    config["data_loader"]["args"] |= loader
    check_same_as_one_process(tmp_path, config, ranks=3 if case == "clipping" else 2)


@pytest.mark.parametrize(("kind", "args"), OPTIMIZERS)
def test_an_optimizer_that_computes_elementwise_works(tmp_path, kind, args):
    optimizer = {"type": kind, "args": {"lr": 0.01} | args}
    config = table_config(tmp_path, epochs=1) | FSDP_SECTION | {"optimizer": optimizer}
    check_same_as_one_process(tmp_path, config)


@pytest.mark.parametrize("args", [{"param_dtype": "bf16"}, {"reduce_dtype": "bf16"}])
def test_parameters_that_are_used_in_bf16_are_kept_in_fp32(tmp_path, args):
    config = table_config(tmp_path, epochs=2)
    train(config, "one")
    config["parallel"] = {"type": "fsdp", "args": {"blocks": ["layers.*"]} | args}
    inside = torch.bfloat16 if "param_dtype" in args else torch.float32
    assert in_ranks(2, list_dtypes, config) == [[inside, torch.float32, torch.float32]] * 2
    sharded, one = (read_lines(tmp_path / "small" / name)[-1]["loss"] for name in ("run", "one"))
    assert sharded != one
    assert sharded == pytest.approx(one, rel=0.05)


def list_dtypes(config):
    """The dtypes of a layer's output, of the model's output, and of the parameters."""
    trainer, dtypes = make_trainer(config), []
    for module in (trainer.model.layers[0], trainer.model):
        module.register_forward_hook(lambda _module, _inputs, output: dtypes.append(output.dtype))
    trainer.train()
    return [*dtypes[:2], next(trainer.model.parameters()).dtype]
