"""Components of a config against the signatures of what they name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from base.schema import SCHEMA
from config.check.checker import Checker, get_name
from config.check.findings import find_typo
from config.check.shapes import is_component
from config.read.merge import load_tree
from config.read.tree import Mark, Tree
from tests.config.probe import find, net, run_check

pytestmark = pytest.mark.usefixtures("probe_files")


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
        ({"type": "probe.make_net", "args": {"width": 3, "whatever": 4}}, []),  # takes **kwargs
    ],
    ids=repr,
)
def test_a_component_is_compared_with_the_signature_of_what_it_names(
    node: Any, messages: list[str]
) -> None:
    assert find("arch", node) == messages


def test_all_findings_of_a_component_are_collected() -> None:
    messages = find("arch", {"type": "probe.Net", "args": {"rat": 1, "deep": 1, "limit": "x"}})
    assert len(messages) == 4


def test_nested_components_are_checked_at_any_depth_and_in_lists() -> None:
    node = net(
        encoder=net(encoder=net(rate="deep")),
        layers=[
            {"type": "Linear", "args": {"in_features": 1, "out_features": 2}},
            {"type": "Linear", "args": {"in": 1}},
        ],
    )
    assert find("arch", node) == [
        "arch.args.encoder.args.encoder.args.rate: wants float, not 'deep'",
        "arch.args.layers.1.args.in: Linear takes no 'in'; "
        "it takes in_features, out_features, bias, device, dtype",
        "arch.args.layers.1.args: Linear needs 'in_features'",
        "arch.args.layers.1.args: Linear needs 'out_features'",
    ]


LINEAR = {"type": "Linear", "args": {"in_features": 1, "out_features": 2}}


@pytest.mark.parametrize(
    ("args", "messages"),
    [
        (
            {"encoder": {"tpye": "Linear", "args": {}}},
            ["arch.args.encoder.tpye: unknown key (did you mean 'type'?); a component has "],
        ),
        ({"encoder": LINEAR | {"extra": 1}}, ["arch.args.encoder.extra: unknown key; "]),
        ({"encoder": {"type": "ReLU", "inplace": True}}, ["arch.args.encoder.inplace: unknown "]),
        ({"encoder": "ReLU"}, ["arch.args.encoder: must be {"]),
        ({"layers": [LINEAR | {"extra": 1}]}, ["arch.args.layers.0.extra: unknown key; "]),
        ({"table": {"a": LINEAR | {"extra": 1}}}, ["arch.args.table.a.extra: unknown key; "]),
        ({"anything": LINEAR | {"extra": 1}}, ["arch.args.anything.extra: unknown key; "]),
        ({"anything": {"type": "ReLU", "arg": {}}}, ["arch.args.anything.arg: unknown key (did "]),
    ],
    ids=repr,
)
def test_a_mistyped_key_does_not_make_a_component_a_plain_value(
    args: dict[str, Any], messages: list[str]
) -> None:
    found = find("arch", net(**args))
    assert len(found) == len(messages)
    assert all(map(str.startswith, found, messages)), found


@pytest.mark.parametrize("key", ["batch_transform", "eval_transform", "batch_sampler", "dataset"])
def test_a_name_is_no_component_where_one_is_needed(key: str) -> None:
    args = {"dataset": {"type": "probe.Squares", "args": {"n": 4}}} | {key: "FlipEach"}
    (message,) = find("data_loader", {"type": "DatasetLoader", "args": args})
    assert message.startswith(f"data_loader.args.{key}: must be {{")


def test_a_word_that_an_option_does_not_know_is_refused() -> None:
    args = {"dataset": {"type": "probe.Squares", "args": {"n": 4}}, "sampler": "class_balancd"}
    (message,) = find("data_loader", {"type": "DatasetLoader", "args": args})
    assert "class_balanced" in message


def test_a_nested_component_among_other_keyword_arguments_is_checked() -> None:
    node = {"type": "probe.make_net", "args": {"encoder": net(rate="x")}}
    assert find("arch", node) == ["arch.args.encoder.args.rate: wants float, not 'x'"]


def test_a_mapping_with_a_type_and_other_keys_is_a_plain_value() -> None:
    assert find("arch", net(anything={"type": "cosine", "warmup": 3})) == []


def test_an_argument_of_the_program_is_neither_missing_nor_allowed() -> None:
    assert find("optimizer", {"type": "probe.Optim"}) == []
    assert find("optimizer", {"type": "probe.Optim", "args": {"params": [1]}}) == [
        "optimizer.args.params: 'params' is given by the program; remove it from the config"
    ]


@pytest.mark.parametrize(
    "node",
    ["probe.scaled", {"type": "probe.scaled"}, {"type": "probe.scaled", "args": {"factor": 2}}],
)
def test_a_loss_is_a_name_or_a_component(node: Any) -> None:
    assert find("loss", node) == []


def test_the_arguments_that_a_function_gets_from_the_config_are_checked() -> None:
    assert find("loss", {"type": "probe.scaled", "args": {"factor": "x"}}) == [
        "loss.args.factor: wants float, not 'x'"
    ]


def test_a_class_in_a_callback_slot_gets_all_arguments_from_the_config() -> None:
    assert find("loss", {"type": "torch.nn.TripletMarginLoss", "args": {"margin": 0.5}}) == []
    assert find("metrics", {"type": "Accuracy"}) == ["metrics: Accuracy needs 'task'"]


@pytest.mark.parametrize("collate", ["probe.doubled", {"type": "probe.doubled"}])
def test_a_collate_function_is_a_name_or_a_component(collate: Any) -> None:
    dataset = {"type": "probe.Squares", "args": {"n": 4}}
    assert (
        find(
            "data_loader",
            {"type": "DatasetLoader", "args": {"dataset": dataset, "collate_fn": collate}},
        )
        == []
    )


def test_a_finding_has_the_position_of_its_key() -> None:
    tree = Tree(
        {"arch": net(rat=1)},
        {("arch",): Mark("c.yaml", 1, 1), ("arch", "args", "rat"): Mark("c.yaml", 3, 5)},
    )
    checker = run_check(tree, "arch")
    assert str(checker.findings[0]).startswith("c.yaml:3:5: arch.args.rat: ")


# -- flat sections ---------------------------------------------------------------------------------


def find_in_section(section: Any) -> list[str]:
    checker = Checker(Tree({"transfer": section}), SCHEMA)
    checker.check_section(SCHEMA.sections["transfer"], section, ("transfer",))
    return [str(finding) for finding in checker.findings]


@pytest.mark.parametrize(
    ("section", "messages"),
    [
        ({"head": {"num_classes": 2}, "freeze": "all_but_head", "__comment": "x"}, []),
        (5, ["transfer: must be a mapping of init_from, init_ema, init_swa, rename, min_match, "]),
        ({"head": 2}, ["transfer.head: must be a mapping of num_classes, name, not 2"]),
        ({"head": {}}, ["transfer: transfer.head needs 'num_classes'"]),
        (
            {"head": {"num_clases": 2}},
            ["transfer.head.num_clases: transfer.head takes no 'num_clases' (did you mean "],
        ),
        ({"thaw": {"epoch": 2}}, ["transfer.thaw: must be a list, not {'epoch': 2}"]),
        (
            {"freeze": "*", "thaw": [{"epoch": 1, "params": "a"}, {"epoch": 0, "params": "b"}]},
            ["transfer.thaw.1.epoch: 0 must be at least 1"],
        ),
        ({"min_match": 2, "layer_decay": 0.0}, ["transfer.min_match: ", "transfer.layer_decay: "]),
        ({"freeze": {"type": "Linear"}}, ["transfer.freeze: wants "]),
    ],
    ids=repr,
)
def test_a_flat_section_is_checked_against_its_dataclass(section: Any, messages: list[str]) -> None:
    found = find_in_section(section)
    assert len(found) == len(messages)
    assert all(map(str.startswith, found, messages)), found


# -- hints -----------------------------------------------------------------------------------------


def test_an_argument_of_a_replaced_type_is_reported_with_the_way_to_remove_it(
    tmp_path: Path,
) -> None:
    base = "optimizer: {type: Adam, args: {lr: 1, amsgrad: true}}\n"
    (tmp_path / "base.yaml").write_text(base, encoding="utf-8")
    child = "extends: base.yaml\noptimizer: {type: SGD}\n"
    (tmp_path / "child.yaml").write_text(child, encoding="utf-8")
    (finding,) = run_check(load_tree(tmp_path / "child.yaml"), "optimizer").findings
    assert finding.message == (
        "SGD takes no 'amsgrad'; it belongs to the type that was replaced, "
        "and ~optimizer.args.amsgrad removes it"
    )


def test_the_owner_of_every_argument_is_known() -> None:
    takers = run_check(Tree({"optimizer": {"type": "probe.Optim"}}), "optimizer").takers
    owner, parameter = takers["optimizer", "args", "note"]
    assert (owner, str(parameter)) == ("trainer.probe.Optim", "note: str = ''")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"type": "Net"}, True),
        ({"type": "Net", "args": {}, "__comment": "x"}, True),
        ({"type": "cosine", "warmup": 3}, False),
        ({"type": 5}, False),
        ({"args": {}}, False),
        ("Net", False),
    ],
    ids=repr,
)
def test_what_counts_as_a_component(value: Any, expected: bool) -> None:
    assert is_component(value) is expected


@pytest.mark.parametrize(
    ("node", "name"),
    [
        ("accuracy", "accuracy"),
        ("metric.accuracy", "accuracy"),
        ({"type": "torchmetrics.AUROC"}, "AUROC"),
        ({"type": "top_k_acc", "name": "top5"}, "top5"),
    ],
)
def test_a_metric_is_named_by_its_name_or_else_its_type(node: Any, name: str) -> None:
    assert get_name(node) == name


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("optimiser", " (did you mean 'optimizer'?)"),
        ("seeed", " (did you mean 'seed'?)"),
        ("optimizer_D", ""),
        ("optimizer2", ""),
        ("noise", ""),
    ],
)
def test_a_typo_differs_from_a_key_of_the_project(key: str, hint: str) -> None:
    assert find_typo(key, ("name", "seed", "optimizer")) == hint
