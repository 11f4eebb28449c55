"""What is reported about a config before anything is made."""

from __future__ import annotations

import copy
import json
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from base.schema import SCHEMA
from config import ConfigError, ConfigParser
from config.check.preflight import NAME, check, check_plain_values
from config.read.merge import apply_override, find_config, load_tree
from config.read.tree import Tree
from tests.config.check.small import CONFIG, find, run_check


@pytest.mark.parametrize(
    "name",
    [
        "config.json",
        "mnist_lenet.json",
        "cifar10_resnet20.yaml",
        "breast_cancer_mlp.yaml",
        "digits_gan.yaml",
        "transfer_ants_bees.yaml",
    ],
)
def test_every_shipped_config_passes(name: str) -> None:
    ConfigParser(load_tree(find_config(name))).check(SCHEMA)


@pytest.mark.parametrize("key", ["name", "arch", "data_loader", "optimizer", "trainer"])
def test_a_missing_required_key_is_reported(key: str) -> None:
    assert find(**{key: ...}) == [
        f"{key}: is missing; a config needs name, arch, data_loader, optimizer, trainer"
    ]


@pytest.mark.parametrize(
    ("key", "value"),
    [*product(["arch", "data_loader", "optimizer"], [None, {}, ""]), ("loss", {}), ("loss", "")],
)
def test_an_empty_required_component_is_reported(key: str, value: Any) -> None:
    assert find(**{key: value}) == [f"{key}: is empty"]


@pytest.mark.parametrize("key", ["lr_scheduler", "valid_data_loader", "test_data_loader"])
@pytest.mark.parametrize("value", [None, {}])
def test_an_optional_component_may_be_empty(key: str, value: Any) -> None:
    run_check(**{key: value})


def test_all_findings_are_reported_at_once() -> None:
    lines = find(
        "optimizer.args.lrr=1",
        "arch.type=SmolConvNet",
        "trainer.epoch=3",
        "data_loader.args.batch_size=x",
        name=...,
    )
    assert [line.partition(": ")[0] for line in lines] == [
        "name",
        "arch.type",
        "data_loader.args.batch_size",
        "optimizer.args.lrr",
        "trainer.epoch",
    ]


def test_a_finding_has_file_line_and_column(tmp_path: Path) -> None:
    text = json.dumps(CONFIG, indent=2).replace('"lr"', '"lrr"')
    (tmp_path / "c.json").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        check(load_tree(tmp_path / "c.json"), SCHEMA)
    line = next(number for number, line in enumerate(text.splitlines(), start=1) if "lrr" in line)
    assert str(caught.value) == (
        f"{tmp_path}/c.json:{line}:7: optimizer.args.lrr: Adam takes no 'lrr' (did you mean 'lr'?)"
    )


# -- top-level keys --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("lr_schedular", "lr_scheduler"),
        ("optimiser", "optimizer"),
        ("metric", "metrics"),
        ("dataloader", "data_loader"),
        ("trainr", "trainer"),
        ("seeed", "seed"),
        ("ngpu", "n_gpu"),
        ("descripton", "description"),
    ],
)
def test_a_key_that_looks_like_a_typo_is_reported(key: str, meant: str) -> None:
    assert find(**{key: 1}) == [f"{key}: unknown key (did you mean '{meant}'?)"]


@pytest.mark.parametrize(
    "key",
    [
        "optimizer_D",
        "discriminator_optimizer",
        "arch2",
        "loss_weights",
        "wandb",
        "noise",
        "__comment",
        "$schema",
    ],
)
def test_a_project_may_add_keys(key: str) -> None:
    run_check(**{key: {"anything": 1}})


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("seed", -1, "seed: -1 must not be negative"),
        ("seed", 1.5, "seed: wants int, not 1.5"),
        ("seed", True, "seed: wants int, not True"),
        ("n_gpu", -2, "n_gpu: -2 must not be negative"),
        ("n_gpu", "1", "n_gpu: wants int, not '1'"),
        ("description", ["x"], "description: wants str, not ['x']"),
    ],
)
def test_a_plain_key_has_a_type_and_a_range(key: str, value: Any, message: str) -> None:
    assert find(**{key: value}) == [message]


def test_a_seed_that_torch_does_not_take_is_refused() -> None:
    (line,) = find(seed=2**70)
    assert line.startswith("seed: ")


@pytest.mark.parametrize("name", ["a", "a.b_c-9", "x" * 64, "9x"])
def test_a_name_that_can_name_a_folder(name: str) -> None:
    assert NAME.fullmatch(name)
    run_check(name=name)


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".x", "-x", "x" * 65, "ä", "a b", "a\nb"])
def test_a_name_that_cannot_name_a_folder_is_refused(name: str) -> None:
    (line,) = find(name=name)
    assert (
        "must be 1 to 64 letters, digits, '.', '_' or '-', and start with a letter or digit" in line
    )


def test_a_name_of_another_type_is_reported_once() -> None:
    assert len(find(name=5)) == 1


# -- overrides -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "section", "key", "value"),
    [
        ("name=007", None, "name", "007"),
        ("description=12", None, "description", "12"),
        ("trainer.save_dir=2024", "trainer", "save_dir", "2024"),
        ("trainer.monitor=off", "trainer", "monitor", "off"),
        ("seed=007", None, "seed", 7),
        ("trainer.grad_clip_norm=1", "trainer", "grad_clip_norm", 1),
        ("trainer.grad_clip_norm=null", "trainer", "grad_clip_norm", None),
    ],
)
def test_an_override_has_the_type_of_its_key(
    override: str, section: str | None, key: str, value: Any
) -> None:
    data = run_check(override).data
    got = (data[section] if section else data)[key]
    assert (got, type(got)) == (value, type(value))


@pytest.mark.parametrize("override", ["description=${seed}", "trainer.save_dir=${seed}"])
def test_a_reference_in_an_override_is_resolved_where_text_is_wanted(override: str) -> None:
    tree = Tree(copy.deepcopy(CONFIG) | {"seed": 7})
    apply_override(tree, override)
    config = ConfigParser(tree)
    try:
        config.check(SCHEMA)
    except ConfigError:
        return  # an error is fine, as a number is not text; the unresolved text is not
    section, _, key = override.partition("=")[0].rpartition(".")
    assert (config[section] if section else config)[key] == "7"


# -- metrics ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        ("accuracy", "metrics: must be a list of names or {type, args}, not 'accuracy'"),
        (
            ["acuracy"],
            "metrics.0.type: no 'acuracy' in model.metric, torchmetrics (did you mean 'accuracy'?)",
        ),
        (
            ["accuracy", "accuracy"],
            "metrics.1: the name 'accuracy' is taken; give this metric another \"name\"",
        ),
        (
            [{"type": "accuracy", "name": "loss"}],
            "metrics.0: the name 'loss' is taken; give this metric another \"name\"",
        ),
        (
            [{"type": "top_k_acc", "args": {"kk": 1}}],
            "metrics.0.args.kk: top_k_acc takes no 'kk' (did you mean 'k'?)",
        ),
        ([5], 'metrics.0: must be {"type": NAME, "args": {…}} or a name, not 5'),
    ],
)
def test_a_bad_metric_is_reported(metrics: Any, message: str) -> None:
    assert find(metrics=metrics) == [message]


@pytest.mark.parametrize(
    "metrics",
    [
        ...,
        [],
        ["accuracy", {"type": "accuracy", "name": "other"}],
        [{"type": "top_k_acc", "args": {"k": 2}}],
    ],
)
def test_good_metrics_pass(metrics: Any) -> None:
    run_check(metrics=metrics)


# -- without the code of the project ---------------------------------------------------------------


def test_plain_values_are_checked_without_resolving_the_names_of_components() -> None:
    data = copy.deepcopy(CONFIG) | {"arch": {"type": "nowhere.Net"}, "seeed": 1}
    data["trainer"] = {"type": "nowhere.Trainer", "epochs": "three", "own": 5}
    lines = [str(finding) for finding in check_plain_values(Tree(data), SCHEMA)]
    assert lines == [
        "seeed: unknown key (did you mean 'seed'?)",
        "trainer.epochs: wants int, not 'three'",
    ]
