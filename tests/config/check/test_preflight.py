"""What is told about a config before anything is made."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from base.schema import SCHEMA
from config import ConfigError, ConfigParser
from config.check.checker import get_metric_name
from config.check.preflight import NAME, check
from config.read.merge import apply_override, find_config, load_tree
from config.read.tree import Tree

CONFIG: dict[str, Any] = {
    "name": "probe",
    "n_gpu": 0,
    "arch": {"type": "SmallConvNet", "args": {"width": 4}},
    "data_loader": {
        "type": "DigitsDataLoader",
        "args": {"batch_size": 128, "validation_split": 0.2},
    },
    "optimizer": {"type": "Adam", "args": {"lr": 0.01}},
    "loss": "cross_entropy",
    "metrics": ["accuracy"],
    "trainer": {"epochs": 1},
}


def checked(*overrides: str, **changes: Any) -> Tree:
    """CONFIG with changes (``...`` takes a key away) and overrides, after the check."""
    data = {
        key: value for key, value in (copy.deepcopy(CONFIG) | changes).items() if value is not ...
    }
    tree = Tree(data)
    for override in overrides:
        apply_override(tree, override)
    check(tree, SCHEMA)
    return tree


def findings(*overrides: str, **changes: Any) -> list[str]:
    """The check's lines, without the place in front."""
    with pytest.raises(ConfigError) as caught:
        checked(*overrides, **changes)
    return [str(finding._replace(mark=None)) for finding in caught.value.findings]


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


def test_every_config_file_is_among_the_shipped_ones(request: pytest.FixtureRequest) -> None:
    for path in (request.config.rootpath / "config").iterdir():
        if path.suffix in (".json", ".yaml") and path.name != "schema.json":
            ConfigParser(load_tree(path)).check(SCHEMA)


@pytest.mark.parametrize("key", ["name", "arch", "data_loader", "optimizer", "loss", "trainer"])
def test_a_required_key_that_is_missing_is_told(key: str) -> None:
    assert findings(**{key: ...}) == [
        f"{key}: is missing; a config needs name, arch, data_loader, optimizer, loss, trainer"
    ]


@pytest.mark.parametrize("key", ["arch", "data_loader", "optimizer", "loss"])
@pytest.mark.parametrize("value", [None, {}, ""])
def test_a_required_part_that_is_empty_is_told(key: str, value: Any) -> None:
    assert findings(**{key: value}) == [f"{key}: is empty"]


@pytest.mark.parametrize("key", ["lr_scheduler", "valid_data_loader", "test_data_loader"])
@pytest.mark.parametrize("value", [None, {}])
def test_an_optional_part_may_be_empty(key: str, value: Any) -> None:
    checked(**{key: value})


def test_all_findings_are_told_at_once() -> None:
    lines = findings(
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


def test_a_finding_tells_file_line_and_column(tmp_path: Path) -> None:
    text = json.dumps(CONFIG, indent=2).replace('"lr"', '"lrr"')
    (tmp_path / "c.json").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        check(load_tree(tmp_path / "c.json"), SCHEMA)
    line = next(number for number, line in enumerate(text.splitlines(), start=1) if "lrr" in line)
    assert str(caught.value) == (
        f"{tmp_path}/c.json:{line}:7: optimizer.args.lrr: Adam takes no 'lrr' (did you mean 'lr'?)"
    )


# -- top-level keys -------------------------------------------------------------------------------------------------


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
def test_a_key_that_looks_like_a_typo_is_told(key: str, meant: str) -> None:
    assert findings(**{key: 1}) == [f"{key}: unknown key (did you mean '{meant}'?)"]


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
def test_a_project_may_have_keys_of_its_own(key: str) -> None:
    checked(**{key: {"anything": 1}})


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
    assert findings(**{key: value}) == [message]


def test_a_seed_that_torch_does_not_take_is_refused() -> None:
    (line,) = findings(seed=2**70)
    assert line.startswith("seed: ")


@pytest.mark.parametrize("name", ["a", "a.b_c-9", "x" * 64, "9x"])
def test_a_name_that_can_name_a_folder(name: str) -> None:
    assert NAME.fullmatch(name)
    checked(name=name)


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".x", "-x", "x" * 65, "ä", "a b", "a\nb"])
def test_a_name_that_cannot_name_a_folder_is_refused(name: str) -> None:
    (line,) = findings(name=name)
    assert (
        "must be 1 to 64 letters, digits, '.', '_' or '-', and start with a letter or digit" in line
    )


def test_a_name_of_another_type_is_told_once() -> None:
    assert len(findings(name=5)) == 1


# -- overrides ------------------------------------------------------------------------------------------------------


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
def test_an_override_takes_the_type_of_what_it_sets(
    override: str, section: str | None, key: str, value: Any
) -> None:
    data = checked(override).data
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
        return  # a number where text is wanted: refused is fine, the unresolved text is not
    section, _, key = override.partition("=")[0].rpartition(".")
    assert (config[section] if section else config)[key] == "7"


# -- metrics --------------------------------------------------------------------------------------------------------


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
    assert get_metric_name(node) == name


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
def test_a_bad_metric_is_told(metrics: Any, message: str) -> None:
    assert findings(metrics=metrics) == [message]


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
    checked(metrics=metrics)


# -- trainer --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trainer", "message"),
    [
        (3, "trainer: must be a mapping, not 3"),
        ({}, "trainer: needs 'epochs'"),
        ({"epochs": 0}, "trainer.epochs: 0 must be at least 1"),
        ({"epochs": 1.0}, "trainer.epochs: wants int, not 1.0"),
        ({"epochs": 1, "save_period": 0}, "trainer.save_period: 0 must be at least 1"),
        ({"epochs": 1, "keep_last": 0}, "trainer.keep_last: 0 must be at least 1"),
        ({"epochs": 1, "verbosity": 3}, "trainer.verbosity: wants 0 | 1 | 2, not 3"),
        (
            {"epochs": 1, "precision": "fp8"},
            "trainer.precision: wants 'fp32' | 'bf16' | 'fp16', not 'fp8'",
        ),
        ({"epochs": 1, "grad_clip_norm": 0}, "trainer.grad_clip_norm: 0 must be above 0, or null"),
        (
            {"epochs": 1, "ema_decay": 1.0},
            "trainer.ema_decay: 1.0 must lie between 0 and 1, or be null",
        ),
        (
            {"epochs": 1, "monitor": "lowest loss"},
            "trainer.monitor: 'lowest loss' must be 'off', 'min METRIC' or 'max METRIC', as 'min val_loss'",
        ),
        ({"epochs": 1, "tensorboard": "yes"}, "trainer.tensorboard: wants bool, not 'yes'"),
        ({"epochs": 1, "keep_lst": 2}, "trainer.keep_lst: unknown key (did you mean 'keep_last'?)"),
        ({"epochs": 1, "len_epoch": "x"}, "trainer.len_epoch: wants int | None, not 'x'"),
        ({"epochs": 1, "type": "Trainr"}, "trainer.type: no 'Trainr' in trainer"),
        (
            {"epochs": 1, "type": "torch.nn.Linear"},
            "trainer.type: 'torch.nn.Linear' (torch.nn.modules.linear.Linear) ",
        ),
        ({"epochs": 1, "type": 5}, "trainer.type: "),
        ({"epochs": 1, "type": None}, "trainer.type: "),
    ],
    ids=repr,
)
def test_a_bad_trainer_section_is_told(trainer: Any, message: str) -> None:
    (line,) = findings(trainer=trainer)
    assert line.startswith(message)


@pytest.mark.parametrize(
    "trainer",
    [
        {"epochs": 1, "early_stop": None},
        {"epochs": 1, "len_epoch": 5},
        {"epochs": 1, "type": "gan.GanTrainer"},
        {"epochs": 1, "own_key": [1, 2], "__comment": "x"},
        {"epochs": 1, "monitor": "max val_accuracy", "early_stop": 1.5},
        {"epochs": 1, "monitor": "off", "early_stop": 0},
        {"epochs": 1, "monitor": "off", "early_stop": -1},
    ],
    ids=repr,
)
def test_a_good_trainer_section_passes(trainer: Any) -> None:
    checked(trainer=trainer)
