"""Parameters cut among processes (fsdp): the numbers, the checkpoints and the bits of a model that is whole."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from base.parallel.sharding import is_cut, together
from torch import nn

from base.parallel.strategy import fsdp
from tests.base.test_parallel import lines_of, skipping, state_of, stopping, table_config
from tests.helpers import differences, load, make_trainer, run, small_config
from tests.ranks import Program, in_ranks
from utils import distributed as parallel
from utils.errors import UserError

CUT = {"parallel": {"type": "fsdp", "args": {"blocks": ["layers.*"]}}}
PARTS = {
    "plain, of one block": ({}, {}, {}),
    "accumulating": ({"accumulation_steps": 3}, {"batch_size": 50}, CUT),
    "clipping": ({"grad_clip_norm": 0.1}, {"batch_size": 101}, CUT),
    "by the step": ({"warmup_steps": 5, "accumulation_steps": 2}, {"batch_size": 64}, CUT),
    "a last batch of one": ({}, {"batch_size": 363}, CUT),
    "ranks with unequal validation": ({}, {"validation_split": 33}, CUT),
    "frozen, then thawed": (
        {"epochs": 3},
        {},
        CUT | {"transfer": {"freeze": 1, "thaw": [{"epoch": 2, "params": "*"}]}},
    ),
    "cached features": ({}, {}, CUT | {"transfer": {"freeze": 1, "cache_features": True}}),
}


def trained(config, run_id, resume=None):
    """How many parameters are cut, and whether the gradient's norm is."""
    trainer = make_trainer(config, run_id, resume)
    trainer.train()
    return sum(map(is_cut, trainer.model.parameters())), is_cut(trainer.update.grad_norm)


def check_same(path, config, ranks=2, rel=1e-4):
    """Trains whole in one process, and cut in several: the same numbers, in files of the same kind."""
    trained({key: value for key, value in config.items() if key != "parallel"}, "one")
    assert in_ranks(ranks, trained, config, "cut", timeout=30) == [(4, False)] * ranks
    for line, expected in zip(
        lines_of(path / "small/cut"), lines_of(path / "small/one"), strict=True
    ):
        assert line == pytest.approx(expected, rel=rel, abs=rel / 10)
    one, cut = state_of(path / "small/one"), state_of(path / "small/cut")
    assert one.keys() == cut.keys()
    assert one["arch"] == cut["arch"]
    for mine, other in (
        ("state_dict", one["state_dict"]),
        *((i, s) for i, s in one["optimizer"]["state"].items()),
    ):
        found = cut["state_dict"] if mine == "state_dict" else cut["optimizer"]["state"][mine]
        assert found.keys() == other.keys()
        for name, value in other.items():
            assert type(found[name]) is type(value)
            torch.testing.assert_close(found[name], value, rtol=10 * rel, atol=rel)


@pytest.mark.parametrize("case", PARTS)
def test_the_loss_curve_and_the_checkpoint_are_those_of_one_process(tmp_path, case):
    trainer, loader, sections = PARTS[case]
    config = (
        table_config(tmp_path, **{"epochs": 2} | trainer)
        | {"parallel": {"type": "fsdp"}}
        | sections
    )
    config["data_loader"]["args"] |= loader
    check_same(tmp_path, config, ranks=3 if case == "clipping" else 2)


@pytest.mark.parametrize(
    ("kind", "args"),
    [
        ("SGD", {"momentum": 0.9, "nesterov": True}), ("AdamW", {"fused": False}), ("NAdam", {}), ("RAdam", {}),
        ("Adamax", {}), ("Adagrad", {}), ("Adadelta", {}), ("RMSprop", {"momentum": 0.5}), ("ASGD", {}),
    ],
)  # fmt: skip
def test_every_optimizer_that_is_not_refused_works(tmp_path, kind, args):
    config = (
        table_config(tmp_path, epochs=1)
        | CUT
        | {"optimizer": {"type": kind, "args": {"lr": 0.01} | args}}
    )
    check_same(tmp_path, config)


@pytest.mark.parametrize(("accumulation", "bad"), [(1, 1), (3, 0), (3, 2)])
def test_a_batch_whose_loss_is_not_finite_on_one_rank_is_skipped_on_all(
    tmp_path, accumulation, bad
):
    trainer = {"nan_policy": "skip", "accumulation_steps": accumulation, "grad_clip_norm": 0.1}
    config = table_config(tmp_path, epochs=1, **trainer)
    alone = skipping(config, bad)
    for skipped, sums in in_ranks(2, skipping_cut, config | {"parallel": {"type": "fsdp"}}, bad):
        assert skipped == 1
        assert sums == pytest.approx(alone[1], rel=1e-4, abs=1e-5)


def skipping_cut(config, bad):
    skipped, _ = skipping(config, bad)
    parallel.barrier()  # the main rank writes
    weights = state_of(Path(config["trainer"]["save_dir"]) / "small/run2")["state_dict"]
    return skipped, [value.sum().item() for value in weights.values()]


@pytest.mark.parametrize("place", ["training", "validation"])
def test_a_stop_asked_of_one_rank_stops_all(tmp_path, place):
    found = in_ranks(2, stopping, table_config(tmp_path, epochs=3) | CUT, place)
    assert {status for status, *_ in found} == {143}
    (path,) = (tmp_path / "small/run").glob("checkpoint*.pt")
    assert load(path)["state_dict"]["layers.0.weight"].shape == (16, 30)


# -- resuming ----------------------------------------------------------------------------------------------------


def copied(path, folder):
    (folder / "log").mkdir(parents=True)
    shutil.copy(path, folder)
    shutil.copy(path.parent / "log/metrics.jsonl", folder / "log")
    return folder / path.name


CLIPPED = {"accumulation_steps": 3, "grad_clip_norm": 0.5, "save_steps": 1, "async_save": True}


def check_going_on(tmp_path, config, copied, state):
    """From every checkpoint of a run, as ``copied(path, folder)``, as many ranks go on to the same bits."""
    config["arch"]["args"]["dropout"] = 0.3
    config["data_loader"]["args"]["batch_size"] = 73
    in_ranks(2, trained, config, "full")
    places = sorted((tmp_path / "small/full").glob("checkpoint-*.pt"))[:-1]
    assert len(places) >= 2
    for path in places:
        folder = tmp_path / "small" / path.stem
        in_ranks(2, trained, config, None, copied(path, folder))
        assert differences(state(folder), state(tmp_path / "small/full")) == [], path.name
        assert lines_of(folder) == lines_of(tmp_path / "small/full")


@pytest.mark.parametrize("trainer", [{}, CLIPPED])
def test_as_many_ranks_go_on_to_the_same_bits_from_everywhere(tmp_path, trainer):
    config = table_config(tmp_path, **{"epochs": 2, "save_steps": 3} | trainer) | CUT
    check_going_on(tmp_path, config, copied, state_of)


@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2), (2, 3)])
def test_another_number_of_ranks_cut_or_whole_goes_on_at_the_same_place(tmp_path, before, after):
    config = table_config(tmp_path, epochs=2, save_steps=4)
    trained_in(before, config if before == 1 else config | CUT, "full", None)
    path = copied(tmp_path / "small/full/checkpoint-epoch1-step8.pt", tmp_path / "small/other")
    trained_in(after, config if after == 1 else config | CUT, None, path)
    for line, expected in zip(
        lines_of(path.parent), lines_of(tmp_path / "small/full"), strict=True
    ):
        assert line == pytest.approx(expected, rel=1e-4, abs=1e-5)


def trained_in(ranks, config, run_id, resume):
    if ranks == 1:
        trained(config, run_id, resume)
    else:
        in_ranks(ranks, trained, config, run_id, resume)


def test_a_checkpoint_of_another_architecture_is_named_by_the_models_own_class(tmp_path):
    config = table_config(tmp_path, epochs=1) | CUT
    in_ranks(2, trained, config, "full")
    config["arch"]["args"]["hidden"] = [17]
    with pytest.raises(
        AssertionError, match="another architecture than MLP: has other shapes in 3"
    ):
        in_ranks(2, trained, config, None, tmp_path / "small/full/checkpoint-epoch1.pt")


def test_the_programs_train_test_and_start_from_it(tmp_path):
    config = table_config(tmp_path / "saved", epochs=1)
    config["parallel"] = {"type": "fsdp", "args": {"blocks": ["layers.*"], "num_processes": 2}}
    (tmp_path / "c.json").write_text(json.dumps(config))
    done = Program("train.py", "-c", tmp_path / "c.json", "--run-id", "run").end()
    assert done.code == 0, done.err
    folder = tmp_path / "saved/small/run"
    tested = run("test.py", "-r", folder, "-o", tmp_path / "test.json")
    assert tested.returncode == 0, tested.stderr
    trainer = make_trainer(
        config | {"transfer": {"init_from": str(folder / "checkpoint-epoch1.pt")}}, "next"
    )
    assert differences(trainer.model.state_dict(), state_of(folder)["state_dict"]) == []
    assert trained(config, "alone") == (0, False)  # one process of its own has nobody to share with


# -- precision, and what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize("args", [{"param_dtype": "bf16"}, {"reduce_dtype": "bf16"}])
def test_parameters_are_computed_with_in_half_of_the_bits_and_kept_in_all(tmp_path, args):
    config = table_config(tmp_path, epochs=2)
    trained(config, "one")
    config["parallel"] = {"type": "fsdp", "args": {"blocks": ["layers.*"]} | args}
    seen = in_ranks(2, dtypes, config)
    inside = torch.bfloat16 if "param_dtype" in args else torch.float32
    assert seen == [[inside, torch.float32, torch.float32]] * 2
    cut, one = (lines_of(tmp_path / "small" / name)[-1]["loss"] for name in ("run", "one"))
    assert cut != one
    assert cut == pytest.approx(one, rel=0.05)


def dtypes(config):
    trainer, seen = make_trainer(config), []
    trainer.model.layers[0].register_forward_hook(
        lambda module, _, output: seen.append(output.dtype)
    )
    trainer.model.register_forward_hook(lambda module, _, output: seen.append(output.dtype))
    trainer.train()
    return [*seen[:2], next(trainer.model.parameters()).dtype]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"trainer": {"ema_decay": 0.9}},
            "trainer.ema_decay: does not go with fsdp; leave it out, or take ddp",
        ),
        ({"trainer": {"compile": True}}, "trainer.compile: does not go with fsdp"),
        ({"trainer": {"channels_last": True}}, "trainer.channels_last: does not go with fsdp"),
        ({"trainer": {"histogram_period": 1}}, "trainer.histogram_period: does not go with fsdp"),
        (
            {"trainer": {"wandb": {"project": "p", "watch": "all"}}},
            "trainer.wandb.watch: does not go with fsdp",
        ),
        ({"trainer": {"precision": "fp16"}}, "fp16 does not go with fsdp; bf16 does"),
        ({"optimizer": {"type": "Muon"}}, "optimizer.type: Muon needs whole parameters"),
        (
            {"optimizer": {"type": "SGD", "args": {"fused": True}}},
            "SGD with fused: true needs whole parameters",
        ),
        (
            {"parallel": {"args": {"blocks": ["layer.*"]}}},
            r"blocks.0: 'layer.\*' matches no module.*mean 'layers.0'",
        ),
        (
            {"parallel": {"args": {"blocks": ["layers.1"]}}},
            "'layers.1' matches no module with parameters",
        ),
        (
            {"parallel": {"args": {"cpu_offload": True}}},
            "cpu_offload: the model is on the CPU already",
        ),
        ({"parallel": {"args": {"num_processes": 0}}}, "num_processes=0 must lie between 1 and"),
        ({"parallel": {"args": {"param_dtype": "fp8"}}}, "param_dtype"),
    ],
)
def test_what_does_not_go_is_told_before_the_training_in_one_process_too(tmp_path, change, message):
    config = table_config(tmp_path) | {"parallel": {"type": "fsdp"}}
    for key, section in change.items():
        config[key] = {**config[key], **section}
    with pytest.raises(UserError, match=message) as caught:
        make_trainer(config)
    assert len(str(caught.value).splitlines()) == 1


def test_batch_norms_in_half_of_the_bits_are_refused(tmp_path):
    config = small_config(tmp_path) | {
        "parallel": {"type": "fsdp", "args": {"param_dtype": "bf16"}}
    }
    with pytest.raises(
        UserError, match=r"param_dtype: batch norms .* need fp32; trainer.precision: bf16"
    ):
        make_trainer(config)


def test_blocks_are_found_by_what_is_between_the_dots_and_inner_ones_come_first():
    model = nn.Sequential(nn.Sequential(nn.Linear(2, 2), nn.ReLU()), nn.Linear(2, 2))
    assert fsdp(blocks=["*"]).chosen(model) == ["0", "1"]
    assert fsdp(blocks=["0", "0.*"]).chosen(model) == ["0.0", "0"]


def test_what_two_blocks_share_is_refused():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[1].weight = model[0].weight
    assert fsdp().chosen(model) == []
    with pytest.raises(UserError, match=r"blocks: 1.weight is shared by two blocks"):
        fsdp(blocks=["*"]).chosen(model)


def test_a_model_that_torch_cannot_cut_is_a_line():
    with pytest.raises(
        AssertionError, match=r"UserError: .*parallel: Scaled cannot be cut: .*scalar parameters"
    ):
        in_ranks(2, wrapped, Scaled)


class Scaled(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.0))


def wrapped(kind):
    return fsdp().wrap(kind(), torch.device("cpu"))


def test_ranks_that_start_from_other_weights_get_the_main_ones():
    assert in_ranks(2, weights_of_seed, [0, 1]) == [weights_of_seed([0])] * 2


def weights_of_seed(seeds):
    torch.manual_seed(seeds[parallel.rank()])
    model = fsdp().wrap(nn.Linear(3, 5), torch.device("cpu"))
    return [together(value).tolist() for value in model.parameters()]


def test_a_block_that_is_not_called_itself_is_a_line(tmp_path):
    config = table_config(tmp_path) | CUT
    with pytest.raises(
        AssertionError,
        match=r"parallel.args.blocks: the model uses parameters of a block without calling",
    ):
        in_ranks(2, functional, config)


def functional(config):
    trainer = make_trainer(config)
    layer = trainer.model.layers[0]
    trainer.model.layers.forward = lambda x: nn.functional.linear(x, layer.weight, layer.bias).mean(
        1, keepdim=True
    )
    trainer.train()
