"""From ``{type, args}`` to an object."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from base.schema import SCHEMA
from config.build import Builder
from config.check.checker import Checker
from config.read.tree import ConfigError, Mark, Tree
from tests.config.probe import Color, net, scaled

pytestmark = pytest.mark.usefixtures("probe_files")


def make_builder(tree: Tree) -> Builder:
    builder = Builder(tree)
    builder.schema = SCHEMA
    return builder


def make(slot: str, node: Any, *args: Any, **kwargs: Any) -> Any:
    return make_builder(Tree({slot: node})).build(slot, *args, **kwargs)


def get_error(slot: str, node: Any, *args: Any, **kwargs: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        make(slot, node, *args, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_values_are_converted_to_what_the_signature_wants() -> None:
    got = make(
        "arch",
        net(color="BLUE", dtype="float16", path="a/b", sizes=[1], table={"x": 1}, __comment="-"),
    ).got
    assert got["color"] is Color.BLUE
    assert got["dtype"] is torch.float16
    assert got["path"] == Path("a/b")
    assert (got["sizes"], got["table"], got["rate"]) == ([1], {"x": 1}, 0.5)


def test_parameters_without_a_name_are_passed_by_position(monkeypatch: pytest.MonkeyPatch) -> None:
    class Single(nn.Module):
        def __init__(self, a: int, b: int = 2, c: int = 3, /, *, d: int = 4) -> None:
            super().__init__()
            self.got = a, b, c, d

    monkeypatch.setattr(sys.modules["model.probe"], "Single", Single, raising=False)
    monkeypatch.setattr(Single, "__module__", "model.probe")
    got = make("arch", {"type": "probe.Single", "args": {"c": 7, "a": 5, "d": 8}}).got
    assert got == (5, 2, 7, 8)


def test_inner_components_are_made_first_at_any_depth_and_in_lists() -> None:
    linear = {"type": "Linear", "args": {"in_features": 2, "out_features": 5}}
    got = make("arch", net(encoder=net(encoder=linear), layers=[linear, linear])).got
    assert got["encoder"].got["encoder"].out_features == 5
    assert [type(layer) for layer in got["layers"]] == [nn.Linear, nn.Linear]
    assert got["layers"][0] is not got["layers"][1]


def test_building_does_not_change_the_config() -> None:
    node = net(encoder={"type": "probe.Net", "args": {"size": 2}}, color="RED")
    make("arch", node)
    assert node == net(encoder={"type": "probe.Net", "args": {"size": 2}}, color="RED")


def test_a_dataset_its_transform_and_a_collate_function_reach_the_loader() -> None:
    transform = {"type": "torchvision.transforms.Lambda", "args": {"lambd": abs}}
    loader = make(
        "data_loader",
        {
            "type": "DatasetLoader",
            "args": {
                "dataset": {"type": "probe.Squares", "args": {"n": 4, "transform": transform}},
                "batch_size": 2,
                "shuffle": False,
                "collate_fn": {"type": "probe.doubled", "args": {"times": 10}},
            },
        },
    )
    assert [batch.tolist() for batch in loader] == [[0, 10], [40, 90]]


def test_a_collate_function_may_be_a_plain_name() -> None:
    args = {
        "dataset": {"type": "probe.Squares", "args": {"n": 2}},
        "shuffle": False,
        "collate_fn": "probe.doubled",
    }
    loader = make("data_loader", {"type": "DatasetLoader", "args": args})
    assert [batch.tolist() for batch in loader] == [[0, 2]]


def test_a_sampler_of_the_config_chooses_the_samples() -> None:
    sampler = {"type": "WeightedRandomSampler", "args": {"weights": [0, 0, 1, 0], "num_samples": 3}}
    args = {
        "dataset": {"type": "probe.Squares", "args": {"n": 4}},
        "batch_size": 3,
        "sampler": sampler,
    }
    (batch,) = make("data_loader", {"type": "DatasetLoader", "args": args})
    assert batch[1].tolist() == [2, 2, 2]


@pytest.mark.parametrize(
    "chosen",
    [
        {"sampler": {"type": "RandomSampler"}},
        {
            "sampler": {
                "type": "RandomSampler",
                "args": {"data_source": {"type": "probe.Squares", "args": {"n": 4}}},
            }
        },
        {
            "batch_sampler": {
                "type": "BatchSampler",
                "args": {"sampler": {"type": "RandomSampler"}, "batch_size": 4, "drop_last": False},
            },
            "batch_size": None,
        },
    ],
    ids=["sampler", "its own data source", "inside a batch sampler"],
)
def test_a_sampler_gets_the_neighbouring_dataset(chosen: dict[str, Any]) -> None:
    node = {
        "type": "DatasetLoader",
        "args": chosen | {"dataset": {"type": "probe.Squares", "args": {"n": 4}}},
    }
    checker = Checker(Tree({"data_loader": node}), SCHEMA)
    checker.check_component(node, SCHEMA.slots["data_loader"], ("data_loader",))
    assert checker.findings == []  # its `data_source` is not missing
    (batch,) = make("data_loader", node)
    assert sorted(batch[1].tolist()) == [0, 1, 2, 3]


def test_the_program_gives_the_leading_arguments() -> None:
    weights = [nn.Parameter(torch.ones(2))]
    optimizer = make(
        "optimizer", {"type": "probe.Optim", "args": {"lr": 0.3, "note": "x"}}, weights
    )
    assert optimizer.param_groups[0]["lr"] == 0.3
    assert optimizer.note == "x"


def test_an_argument_from_both_config_and_program_is_an_error() -> None:
    assert get_error("arch", net(rate=0.1), rate=0.2) == (
        "arch.args.rate: 'rate' is given by the program; remove it from the config"
    )


def test_a_function_in_a_callback_slot_is_not_called_and_keeps_its_name() -> None:
    loss = make("loss", {"type": "probe.scaled", "args": {"factor": 3.0}})
    assert loss(torch.tensor([2.0]), torch.tensor([1.0])) == 3.0
    assert loss.__name__ == "scaled"
    assert make("loss", "probe.scaled") is scaled


def test_a_class_in_a_callback_slot_is_made() -> None:
    loss = make("loss", {"type": "CrossEntropyLoss", "args": {"label_smoothing": 0.1}})
    assert isinstance(loss, nn.CrossEntropyLoss)
    assert loss.label_smoothing == 0.1


def test_a_function_in_any_other_slot_is_called() -> None:
    assert make("arch", {"type": "probe.make_net", "args": {"width": 4, "a": 1}}).weight.shape == (
        2,
        4,
    )


@pytest.mark.parametrize(
    ("slot", "node", "args", "message"),
    [
        (
            "arch",
            {"type": "probe.Nat"},
            (),
            "arch.type: no 'Nat' in model/probe.py (did you mean 'Net'?)",
        ),
        ("arch", net(encoder={"type": "Lineer"}), (), "arch.args.encoder.type: no 'Lineer' in "),
        ("arch", {"type": "torch.nn.Linear", "args": {"in_features": 2}}, (), "arch: Linear: "),
        (
            "optimizer",
            {"type": "SGD", "args": {"lr": -1}},
            ([nn.Parameter(torch.ones(1))],),
            "optimizer: SGD: ",
        ),
    ],
    ids=["unknown", "unknown inside", "missing", "bad value"],
)
def test_an_error_of_a_library_is_one_line_with_the_key(
    slot: str, node: Any, args: tuple[Any, ...], message: str
) -> None:
    assert get_error(slot, node, *args).startswith(message)


def test_an_error_of_a_class_of_the_project_is_one_line_too() -> None:
    assert (
        get_error("arch", {"type": "probe.refuses", "args": {"size": 3}})
        == "arch: refuses: size 3 is odd"
    )


def test_an_error_in_the_projects_files_names_file_and_line() -> None:
    message = get_error("arch", {"type": "SmallConvNet", "args": {"width": -1}})
    assert re.search(r" \(model/model\.py:\d+\)$", message)


def test_the_error_itself_is_kept_as_the_cause() -> None:
    with pytest.raises(ConfigError) as caught:
        make("arch", {"type": "probe.refuses", "args": {"size": 3}})
    assert type(caught.value.__cause__) is ValueError


def test_a_bug_keeps_its_traceback() -> None:
    with pytest.raises(NameError):
        make("arch", {"type": "probe.forgets"})


@pytest.mark.parametrize(
    ("argument", "value"),
    [("num_workers", -1), ("prefetch_factor", 2), ("timeout", -1), ("batch_size", 0)],
)
def test_an_error_of_the_data_loader_is_one_line(argument: str, value: Any) -> None:
    args = {
        "dataset": {"type": "probe.Squares", "args": {"n": 4}},
        "num_workers": 0,
        argument: value,
    }
    assert argument in get_error("data_loader", {"type": "DatasetLoader", "args": args})


def test_an_error_with_keys_is_located_at_the_arguments() -> None:
    tree = Tree(
        {"arch": {"type": "probe.Picky", "args": {"size": 0}}},
        {("arch",): Mark("c.yaml", 1, 1), ("arch", "args", "size"): Mark("c.yaml", 3, 5)},
    )
    with pytest.raises(ConfigError) as caught:
        make_builder(tree).build("arch")
    assert str(caught.value).splitlines() == [
        "c.yaml:3:5: arch.args.size: 0 must be at least 1",
        "c.yaml:1:1: arch: sizes are hard",
    ]


def test_an_error_whose_text_fails_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    class SilentError(ValueError):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    def fail() -> nn.Module:
        raise SilentError

    monkeypatch.setattr(fail, "__module__", "model.probe")
    monkeypatch.setattr(sys.modules["model.probe"], "fail", fail, raising=False)
    assert "<SilentError without a text>" in get_error("arch", {"type": "probe.fail"})
