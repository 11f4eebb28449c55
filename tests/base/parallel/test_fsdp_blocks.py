"""The blocks of FSDP, and the configs and models that it refuses."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from base.parallel.fsdp import FSDP
from tests.base.parallel.spread_runs import FSDP_SECTION, table_config
from tests.helpers import make_trainer, small_config
from tests.ranks import in_ranks
from utils.distributed import rank
from utils.dtensor import full_tensor
from utils.errors import UserError

CPU = torch.device("cpu")
REFUSED = [  # section, its changes, the error
    ("trainer", {"ema_decay": 0.9}, "trainer.ema_decay: does not work with fsdp; leave it out, or"),
    ("trainer", {"swa": {}}, "trainer.swa: does not work with fsdp; leave it out, or use ddp"),
    ("trainer", {"compile": True}, "trainer.compile: does not work with fsdp"),
    ("trainer", {"channels_last": True}, "trainer.channels_last: does not work with fsdp"),
    ("trainer", {"histogram_period": 1}, "trainer.histogram_period: does not work with fsdp"),
    (
        "trainer",
        {"wandb": {"project": "p", "watch": "all"}},
        "trainer.wandb.watch: does not work with fsdp",
    ),
    ("trainer", {"precision": "fp16"}, "trainer.precision: fp16 does not work with fsdp; use bf16"),
    ("optimizer", {"type": "Muon"}, "optimizer.type: Muon needs full parameters"),
    (
        "optimizer",
        {"type": "SGD", "args": {"fused": True}},
        "SGD with fused: true needs full parameters",
    ),
    (
        "parallel",
        {"args": {"blocks": ["layer.*"]}},
        r"blocks.0: 'layer.\*' matches no module.*mean 'layers.0'",
    ),
    (
        "parallel",
        {"args": {"blocks": ["layers.1"]}},
        "'layers.1' matches no module with parameters",
    ),
    (
        "parallel",
        {"args": {"cpu_offload": True}},
        "parallel.args.cpu_offload: the model is on the CPU already",
    ),
    ("parallel", {"args": {"num_processes": 0}}, "num_processes=0 must lie between 1 and"),
    ("parallel", {"args": {"param_dtype": "fp8"}}, "param_dtype"),
]


@pytest.mark.parametrize(("section", "change", "message"), REFUSED)
def test_what_does_not_go_with_fsdp_is_refused_before_training(tmp_path, section, change, message):
    """A single process refuses it too, so that a config can be checked anywhere."""
    config = table_config(tmp_path) | {"parallel": {"type": "fsdp"}}
    config[section] = {**config[section], **change}
    with pytest.raises(UserError, match=message) as caught:
        make_trainer(config)
    assert len(str(caught.value).splitlines()) == 1


def test_batch_norms_in_bf16_are_refused(tmp_path):
    section = {"type": "fsdp", "args": {"param_dtype": "bf16"}}
    message = r"param_dtype: batch norms .* need fp32; use trainer.precision: bf16"
    with pytest.raises(UserError, match=message):
        make_trainer(small_config(tmp_path) | {"parallel": section})


def test_a_star_matches_one_part_of_a_name_and_inner_blocks_come_first():
    model = nn.Sequential(nn.Sequential(nn.Linear(2, 2), nn.ReLU()), nn.Linear(2, 2))
    assert FSDP(blocks=["*"]).find_blocks(model) == ["0", "1"]
    assert FSDP(blocks=["0", "0.*"]).find_blocks(model) == ["0.0", "0"]


def test_a_parameter_of_two_blocks_is_refused():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[1].weight = model[0].weight
    assert FSDP().find_blocks(model) == []
    with pytest.raises(UserError, match=r"blocks: 1.weight is shared by two blocks"):
        FSDP(blocks=["*"]).find_blocks(model)


class Scaled(nn.Module):
    """Has a parameter without dimensions, which torch cannot shard."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.0))


def wrap_scaled():
    return FSDP().wrap(Scaled(), CPU)


def test_a_model_that_torch_cannot_shard_is_one_line():
    message = r"UserError: .*parallel: Scaled cannot be sharded: .*scalar parameters"
    with pytest.raises(AssertionError, match=message):
        in_ranks(2, wrap_scaled)


def draw_weights(seeds):
    """The full parameters of a wrapped model, made with the seed of this rank."""
    torch.manual_seed(seeds[rank()])
    model = FSDP().wrap(nn.Linear(3, 5), CPU)
    return [full_tensor(value).tolist() for value in model.parameters()]


def test_all_ranks_start_with_the_weights_of_the_main_rank():
    assert in_ranks(2, draw_weights, [0, 1]) == [draw_weights([0])] * 2


def train_without_calling_a_block(config):
    trainer = make_trainer(config)
    layer = trainer.model.layers[0]

    def forward(x):
        return nn.functional.linear(x, layer.weight, layer.bias).mean(1, keepdim=True)

    trainer.model.layers.forward = forward
    trainer.train()


def test_a_block_that_the_model_does_not_call_is_one_line(tmp_path):
    message = "parallel.args.blocks: the model uses parameters of a block without calling"
    with pytest.raises(AssertionError, match=message):
        in_ranks(2, train_without_calling_a_block, table_config(tmp_path) | FSDP_SECTION)
