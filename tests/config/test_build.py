"""From ``{type, args}`` to an object: the signature is the schema."""

from __future__ import annotations

import collections.abc
import enum
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, Optional, Union

import pytest
import torch
from torch import nn
from torch.utils.data import Dataset

from base.schema import SCHEMA
from config.build import Builder
from config.check.annotations import accepts, convert, describe_annotation
from config.check.checker import Checker
from config.read.merge import apply_override
from config.read.tree import ConfigError, Mark, Tree


class Color(enum.Enum):
    RED = "r"
    BLUE = 2


# A file model/probe.py, data_loader/probe.py and trainer/probe.py of a project.


class Net(nn.Module):
    def __init__(
        self,
        size: int,
        rate: float = 0.5,
        name: str = "net",
        deep: bool = False,
        mode: Literal["min", "max", 3] = "min",
        limit: int | None = None,
        sizes: list[int] | None = None,
        color: Color = Color.RED,
        dtype: torch.dtype = torch.float32,
        path: Path | None = None,
        table: dict[str, Any] | None = None,
        encoder: nn.Module | None = None,
        layers: list[nn.Module] | None = None,
        anything: Any = None,
        implied: int = None,  # type: ignore[assignment]  # noqa: RUF013  (as many write it)
    ) -> None:
        super().__init__()
        self.got = {
            key: value for key, value in locals().items() if key not in ("self", "__class__")
        }


def net_of(width: int = 3, **kwargs: Any) -> nn.Module:
    return nn.Linear(width, len(kwargs) + 1)


def refuses(size: int) -> nn.Module:
    raise ValueError(f"size {size}\nis odd")


def divides() -> nn.Module:
    return nn.Linear(1 // 0, 1)


def scaled(output: torch.Tensor, target: torch.Tensor, factor: float = 1.0) -> torch.Tensor:
    return (output - target).mean() * factor


class Squares(Dataset[Any]):
    def __init__(self, n: int, transform: Any = None) -> None:
        self.n, self.transform = n, transform

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> Any:
        value = torch.tensor(float(index**2))
        return (self.transform(value) if self.transform else value), index


def doubled(samples: list[Any], times: int = 2) -> Any:
    return torch.stack([value for value, _ in samples]) * times


class Optim(torch.optim.SGD):
    def __init__(self, params: Any, lr: float = 0.1, note: str = "") -> None:
        super().__init__(params, lr)
        self.note = note


@pytest.fixture(autouse=True)
def _project(monkeypatch: pytest.MonkeyPatch) -> None:
    for folder, members in {
        "model": (Net, net_of, refuses, divides, scaled),
        "data_loader": (Squares, doubled),
        "trainer": (Optim,),
    }.items():
        module = ModuleType(f"{folder}.probe")
        for member in members:
            monkeypatch.setattr(member, "__module__", module.__name__)
            setattr(module, member.__name__, member)
        monkeypatch.setitem(sys.modules, module.__name__, module)


def findings(slot: str, node: Any, *overrides: str) -> list[str]:
    """What the check finds wrong with ``node`` in ``slot``, without the place in front."""
    tree = Tree({slot: node})
    for override in overrides:
        apply_override(tree, override)
    checker = Checker(tree, SCHEMA)
    checker.check_component(tree.data[slot], SCHEMA.slots[slot], (slot,))
    return [str(finding._replace(mark=None)) for finding in checker.findings]


def net(**args: Any) -> dict[str, Any]:
    return {"type": "probe.Net", "args": {"size": 1} | args}


def make(slot: str, node: Any, *args: Any, **kwargs: Any) -> Any:
    builder = Builder(Tree({slot: node}), SCHEMA)
    return builder.build(node, SCHEMA.slots[slot], (slot,), *args, **kwargs)


def refusal(slot: str, node: Any, *args: Any, **kwargs: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        make(slot, node, *args, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# -- values and annotations -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "args",
    [
        {"rate": 0.1},
        {"rate": 1},  # an int for a float
        {"name": "x"},
        {"deep": True},
        {"mode": "max"},
        {"mode": 3},
        {"limit": None},
        {"limit": 3},
        {"sizes": []},
        {"sizes": [1, 2]},
        {"sizes": None},
        {"color": "RED"},
        {"color": "r"},
        {"dtype": "float16"},
        {"dtype": "torch.bfloat16"},
        {"path": "data/x"},
        {"table": {"a": [1]}},
        {"anything": {"b": [1, "x"]}},
        {"implied": None},  # its own default
    ],
    ids=repr,
)
def test_a_fitting_value_is_taken(args: dict[str, Any]) -> None:
    assert findings("arch", net(**args)) == []


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"size": 2.0}, "arch.args.size: wants int, not 2.0"),
        ({"size": True}, "arch.args.size: wants int, not True"),
        ({"size": "2"}, "arch.args.size: wants int, not '2'"),
        ({"size": None}, "arch.args.size: wants int, not None"),
        ({"rate": True}, "arch.args.rate: wants float, not True"),
        ({"rate": "fast"}, "arch.args.rate: wants float, not 'fast'"),
        ({"name": 7}, "arch.args.name: wants str, not 7"),
        ({"name": ["x"]}, "arch.args.name: wants str, not ['x']"),
        ({"deep": 1}, "arch.args.deep: wants bool, not 1"),
        ({"deep": "yes"}, "arch.args.deep: wants bool, not 'yes'"),
        ({"mode": "mid"}, "arch.args.mode: wants 'min' | 'max' | 3, not 'mid'"),
        ({"mode": 3.0}, "arch.args.mode: wants 'min' | 'max' | 3, not 3.0"),
        ({"limit": "x"}, "arch.args.limit: wants int | None, not 'x'"),
        ({"limit": False}, "arch.args.limit: wants int | None, not False"),
        ({"sizes": 3}, "arch.args.sizes: wants list[int] | None, not 3"),
        ({"sizes": [1, "a"]}, "arch.args.sizes: wants list[int] | None, not [1, 'a']"),
        ({"sizes": [True]}, "arch.args.sizes: wants list[int] | None, not [True]"),
        ({"color": "GREEN"}, "arch.args.color: wants RED | BLUE, not 'GREEN'"),
        ({"dtype": "float33"}, "arch.args.dtype: wants dtype, not 'float33'"),
        ({"dtype": "nn"}, "arch.args.dtype: wants dtype, not 'nn'"),
        ({"table": [1]}, "arch.args.table: wants dict[str, Any] | None, not [1]"),
    ],
    ids=repr,
)
def test_a_value_of_another_type_is_told_with_what_is_wanted(
    args: dict[str, Any], message: str
) -> None:
    assert findings("arch", net(**args)) == [message]


@pytest.mark.parametrize(
    ("annotation", "value", "fits"),
    [
        (Optional[float], 1, True),  # noqa: UP045  (as older code writes it)
        (Union[int, str], "x", True),  # noqa: UP007
        (Union[int, str], 1.5, False),  # noqa: UP007
        (tuple[int, int], [1, 2], True),
        (tuple[float, ...], [1, 2.5], True),
        (tuple[float, ...], [1, "x"], False),
        (list, [1, "x"], True),
        (collections.abc.Sequence[float], [1, 2], True),
        (collections.abc.Sequence[float], ["a"], False),
        (collections.abc.Sequence[float], "abc", False),
        (collections.abc.Callable[[int], int], "relu", False),
        (list[list[int]], [[1], [2]], True),
        (list[list[int]], [[1], ["x"]], False),
        (set[int], [1], True),
        (torch.Tensor, [1.0, 2.0], False),
        (int, [1], False),
        (dict[str, int], {"a": 1}, True),
        (int, {}, False),
        (type(None), None, True),
        ("SomeName", 5, True),  # what cannot be judged fits
        (object, 5, True),
    ],
    ids=repr,
)
def test_accepts(annotation: Any, value: Any, fits: bool) -> None:
    assert accepts(annotation, value) is fits


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (int, "int"),
        (int | None, "int | None"),
        (list[int], "list[int]"),
        (Literal["a", 1], "'a' | 1"),
        (Color, "RED | BLUE"),
        (Optional[int], "Optional[int]"),  # noqa: UP045
    ],
)
def test_annotations_are_shown_as_people_write_them(annotation: Any, text: str) -> None:
    assert describe_annotation(annotation) == text


@pytest.mark.parametrize(
    ("annotation", "value", "converted"),
    [
        (Color, "BLUE", Color.BLUE),
        (Color | None, "r", Color.RED),
        (torch.dtype, "int64", torch.int64),
        (torch.dtype | None, None, None),
        (Path, "a/b", Path("a/b")),
        (Path | str, "a/b", "a/b"),  # text will do
        (str, "float32", "float32"),
        (list[torch.dtype], ["int64", "torch.float32"], [torch.int64, torch.float32]),
        (float, 1, 1),
    ],
    ids=repr,
)
def test_names_become_what_they_name(annotation: Any, value: Any, converted: Any) -> None:
    got = convert(annotation, value)
    assert (got, type(got)) == (converted, type(converted))


# -- the check ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("node", "messages"),
    [
        (net(rat=1), ["arch.args.rat: probe.Net takes no 'rat' (did you mean 'rate'?)"]),
        (net(zzz=1), ["arch.args.zzz: probe.Net takes no 'zzz'"]),
        ({"type": "probe.Net"}, ["arch: probe.Net needs 'size'"]),
        ({"type": "probe.Net", "args": {"rate": 1}}, ["arch.args: probe.Net needs 'size'"]),
        ({"type": "probe.Net", "args": None}, ["arch: probe.Net needs 'size'"]),
        (
            {"type": "probe.Net", "args": [1]},
            ["arch.args: must be a mapping of argument names to values, not [1]"],
        ),
        ({"type": "probe.Nat"}, ["arch.type: no 'Nat' in model/probe.py (did you mean 'Net'?)"]),
        (
            net() | {"arg": {}},
            ["arch.arg: unknown key (did you mean 'args'?); a component has 'type' and 'args'"],
        ),
        ({"args": {}}, ['arch: must be {"type": NAME, "args": {…}}']),
        ({"type": 5}, ["arch.type: must be a name, not 5"]),
        (
            {"tpye": "probe.Net"},
            ["arch.tpye: unknown key (did you mean 'type'?); a component has 'type' and 'args'"],
        ),
        ("probe.Net", ['arch: must be {"type": NAME, "args": {…}}, not \'probe.Net\'']),
        ([], ['arch: must be {"type": NAME, "args": {…}}, not []']),
        (net(__comment="fine"), []),
        ({"type": "probe.net_of", "args": {"width": 3, "whatever": 4}}, []),  # takes **kwargs
    ],
    ids=repr,
)
def test_a_part_is_compared_with_the_signature_of_what_it_names(
    node: Any, messages: list[str]
) -> None:
    assert findings("arch", node) == messages


def test_all_findings_of_a_part_are_collected() -> None:
    messages = findings("arch", {"type": "probe.Net", "args": {"rat": 1, "deep": 1, "limit": "x"}})
    assert len(messages) == 4


def test_nested_parts_are_checked_at_any_depth_and_in_lists() -> None:
    node = net(
        encoder=net(encoder=net(rate="deep")),
        layers=[
            {"type": "Linear", "args": {"in_features": 1, "out_features": 2}},
            {"type": "Linear", "args": {"in": 1}},
        ],
    )
    assert findings("arch", node) == [
        "arch.args.encoder.args.encoder.args.rate: wants float, not 'deep'",
        "arch.args.layers.1.args.in: Linear takes no 'in'; it takes in_features, out_features, bias, device, dtype",
        "arch.args.layers.1.args: Linear needs 'in_features'",
        "arch.args.layers.1.args: Linear needs 'out_features'",
    ]


def test_a_nested_part_in_open_ended_arguments_is_checked_too() -> None:
    node = {"type": "probe.net_of", "args": {"encoder": net(rate="x")}}
    assert findings("arch", node) == ["arch.args.encoder.args.rate: wants float, not 'x'"]


def test_a_mapping_parameter_may_hold_a_key_named_type() -> None:
    assert findings("arch", net(anything={"type": "cosine", "warmup": 3})) == []


def test_what_the_program_gives_is_neither_missing_nor_allowed() -> None:
    assert findings("optimizer", {"type": "probe.Optim"}) == []
    assert findings("optimizer", {"type": "probe.Optim", "args": {"params": [1]}}) == [
        "optimizer.args.params: 'params' is given by the program; take it out of the config"
    ]


@pytest.mark.parametrize(
    "node",
    ["probe.scaled", {"type": "probe.scaled"}, {"type": "probe.scaled", "args": {"factor": 2}}],
)
def test_a_loss_is_a_name_or_a_part(node: Any) -> None:
    assert findings("loss", node) == []


def test_a_functions_own_arguments_are_checked_and_not_what_it_is_called_with() -> None:
    assert findings("loss", {"type": "probe.scaled", "args": {"factor": "x"}}) == [
        "loss.args.factor: wants float, not 'x'"
    ]


def test_a_class_in_a_callback_slot_gets_all_of_its_arguments_from_the_config() -> None:
    assert findings("loss", {"type": "torch.nn.TripletMarginLoss", "args": {"margin": 0.5}}) == []
    assert findings("metrics", {"type": "Accuracy"}) == ["metrics: Accuracy needs 'task'"]


@pytest.mark.parametrize("collate", ["probe.doubled", {"type": "probe.doubled"}])
def test_a_collate_function_is_a_name_or_a_part(collate: Any) -> None:
    dataset = {"type": "probe.Squares", "args": {"n": 4}}
    assert (
        findings(
            "data_loader",
            {"type": "DatasetLoader", "args": {"dataset": dataset, "collate_fn": collate}},
        )
        == []
    )


def test_the_place_of_a_finding_is_its_own_line() -> None:
    tree = Tree(
        {"arch": net(rat=1)},
        {("arch",): Mark("c.yaml", 1, 1), ("arch", "args", "rat"): Mark("c.yaml", 3, 5)},
    )
    checker = Checker(tree, SCHEMA)
    checker.check_component(tree.data["arch"], SCHEMA.slots["arch"], ("arch",))
    assert str(checker.findings[0]).startswith("c.yaml:3:5: arch.args.rat: ")


# -- overrides take the type of their parameter ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("arch.args.name=007", "007"),
        ("arch.args.name=1e3", "1e3"),
        ("arch.args.name=true", "true"),
        ("arch.args.name=[1, 2]", "[1, 2]"),
        ("arch.args.name=a: b", "a: b"),
        ("arch.args.limit=007", 7),
        ("arch.args.limit=null", None),
        ("arch.args.rate=1e-3", 0.001),
        ("arch.args.path=2024", "2024"),
    ],
)
def test_an_overridden_parameter_that_wants_text_gets_the_text(override: str, value: Any) -> None:
    tree = Tree({"arch": net()})
    apply_override(tree, override)
    checker = Checker(tree, SCHEMA)
    checker.check_component(tree.data["arch"], SCHEMA.slots["arch"], ("arch",))
    assert checker.findings == []
    key = override.partition("=")[0].rpartition(".")[2]
    got = tree.data["arch"]["args"][key]
    assert (got, type(got)) == (value, type(value))


def test_an_override_of_the_wrong_type_is_told_by_its_text() -> None:
    tree = Tree({"arch": net()})
    apply_override(tree, "arch.args.rate=fast")
    checker = Checker(tree, SCHEMA)
    checker.check_component(tree.data["arch"], SCHEMA.slots["arch"], ("arch",))
    assert (
        str(checker.findings[0]) == "arch.args.rate=fast: arch.args.rate: wants float, not 'fast'"
    )


# -- making ---------------------------------------------------------------------------------------------------------


def test_values_arrive_as_the_signature_wants_them() -> None:
    got = make(
        "arch",
        net(color="BLUE", dtype="float16", path="a/b", sizes=[1], table={"x": 1}, __comment="-"),
    ).got
    assert got["color"] is Color.BLUE
    assert got["dtype"] is torch.float16
    assert got["path"] == Path("a/b")
    assert (got["sizes"], got["table"], got["rate"]) == ([1], {"x": 1}, 0.5)


def test_inner_parts_are_made_first_at_any_depth_and_in_lists() -> None:
    linear = {"type": "Linear", "args": {"in_features": 2, "out_features": 5}}
    got = make("arch", net(encoder=net(encoder=linear), layers=[linear, linear])).got
    assert got["encoder"].got["encoder"].out_features == 5
    assert [type(layer) for layer in got["layers"]] == [nn.Linear, nn.Linear]
    assert got["layers"][0] is not got["layers"][1]


def test_the_config_is_not_changed_by_making() -> None:
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


def test_a_collate_function_may_be_given_by_its_name_alone() -> None:
    args = {
        "dataset": {"type": "probe.Squares", "args": {"n": 2}},
        "shuffle": False,
        "collate_fn": "probe.doubled",
    }
    loader = make("data_loader", {"type": "DatasetLoader", "args": args})
    assert [batch.tolist() for batch in loader] == [[0, 2]]


def test_a_sampler_from_the_config_chooses_the_samples() -> None:
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
def test_a_sampler_gets_the_dataset_that_stands_beside_it(chosen: dict[str, Any]) -> None:
    node = {
        "type": "DatasetLoader",
        "args": chosen | {"dataset": {"type": "probe.Squares", "args": {"n": 4}}},
    }
    assert findings("data_loader", node) == []
    (batch,) = make("data_loader", node)
    assert sorted(batch[1].tolist()) == [0, 1, 2, 3]


def test_the_program_gives_the_leading_arguments() -> None:
    weights = [nn.Parameter(torch.ones(2))]
    optimizer = make(
        "optimizer", {"type": "probe.Optim", "args": {"lr": 0.3, "note": "x"}}, weights
    )
    assert optimizer.param_groups[0]["lr"] == 0.3
    assert optimizer.note == "x"


def test_an_argument_given_by_both_config_and_program_is_refused() -> None:
    assert refusal("arch", net(rate=0.1), rate=0.2) == (
        "arch.args.rate: 'rate' is given by the program; take it out of the config"
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
    assert make("arch", {"type": "probe.net_of", "args": {"width": 4, "a": 1}}).weight.shape == (
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
def test_what_a_library_refuses_is_one_line_with_the_key_path(
    slot: str, node: Any, args: tuple[Any, ...], message: str
) -> None:
    assert refusal(slot, node, *args).startswith(message)


def test_what_a_class_of_the_project_refuses_is_one_line_too() -> None:
    assert (
        refusal("arch", {"type": "probe.refuses", "args": {"size": 3}})
        == "arch: refuses: size 3 is odd"
    )


def test_an_error_that_came_up_in_the_projects_files_tells_where() -> None:
    message = refusal("arch", {"type": "SmallConvNet", "args": {"width": -1}})
    assert re.search(r" \(model/model\.py:\d+\)$", message)


def test_the_error_itself_is_kept_as_the_cause() -> None:
    with pytest.raises(ConfigError) as caught:
        make("arch", {"type": "probe.refuses", "args": {"size": 3}})
    assert type(caught.value.__cause__) is ValueError


def test_a_bug_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        make("arch", {"type": "probe.divides"})


@pytest.mark.parametrize(
    ("argument", "value"),
    [("num_workers", -1), ("prefetch_factor", 2), ("timeout", -1), ("batch_size", 0)],
)
def test_a_value_that_the_data_loader_refuses_is_one_line(argument: str, value: Any) -> None:
    args = {
        "dataset": {"type": "probe.Squares", "args": {"n": 4}},
        "num_workers": 0,
        argument: value,
    }
    assert argument in refusal("data_loader", {"type": "DatasetLoader", "args": args})
