"""ConfigParser: reading a config, the command line, and making the parts."""

from __future__ import annotations

import argparse
import copy
import functools
import json
import logging
import math
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from base.schema import SCHEMA
from config import ConfigError, ConfigParser, CustomArgs, Section
from utils.errors import UserError

CONFIG: dict[str, Any] = {
    "name": "probe",
    "seed": 7,
    "n_gpu": 0,
    "arch": {"type": "SmallConvNet", "args": {"width": 4}},
    "data_loader": {
        "type": "DigitsDataLoader",
        "args": {"batch_size": 128, "validation_split": 0.2},
    },
    "optimizer": {"type": "Adam", "args": {"lr": 0.01}},
    "loss": "cross_entropy",
    "metrics": ["accuracy"],
    "trainer": {"epochs": 1, "save_dir": "saved/"},
    "own": {"list": [1, {"deep": 2}], "off": None},
}


def parser(**changes: Any) -> ConfigParser:
    made = ConfigParser(copy.deepcopy(CONFIG) | changes, run_id="run")
    made.schema = SCHEMA
    return made


@pytest.fixture
def command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs ``from_args`` as train.py does, with CONFIG as ``c.json`` in the current folder."""
    (tmp_path / "c.json").write_text(json.dumps(CONFIG), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    options = [
        CustomArgs(["--lr", "--learning_rate"], type=float, target="optimizer;args;lr"),
        CustomArgs(["-b", "--batch-size"], type=int, target="data_loader;args;batch_size"),
    ]

    def parse(*words: str) -> ConfigParser:
        args = argparse.ArgumentParser()
        args.add_argument("-c", "--config", default=None)
        args.add_argument("-r", "--resume", default=None)
        args.add_argument("-d", "--device", default=None)
        monkeypatch.setattr(sys, "argv", ["train.py", *words])
        return ConfigParser.from_args(args, options)

    return parse


def run_folder(folder: Path, *checkpoints: str, config: dict[str, Any] | None = None) -> Path:
    folder.mkdir(parents=True)
    for name in checkpoints:
        (folder / name).write_bytes(b"")
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


# -- reading --------------------------------------------------------------------------------------------------------


def test_values_are_read_as_items_and_as_attributes() -> None:
    config = parser()
    assert config["optimizer"]["args"]["lr"] == 0.01
    assert config.optimizer.args.lr == 0.01
    assert config.own.list[1].deep == 2
    assert config["own"].get("nothing", 5) == 5
    assert "own" in config
    assert "nothing" not in config
    assert config.get("nothing", 3) == 3
    assert list(config["arch"].items()) == [("type", "SmallConvNet"), ("args", {"width": 4})]


def test_sections_are_changed_in_place_by_item_and_by_attribute() -> None:
    config = parser()
    config["trainer"]["epochs"] = 5
    config.optimizer.args.lr = 1.0
    config["own"].setdefault("new", []).append(1)
    assert (config.trainer.epochs, config["optimizer"]["args"]["lr"], config["own"]["new"]) == (
        5,
        1.0,
        [1],
    )
    assert config.plain()["trainer"]["epochs"] == 5


def test_a_section_is_a_dict() -> None:
    section = parser()["arch"]
    assert isinstance(section, dict)
    assert json.loads(json.dumps(section)) == CONFIG["arch"]
    assert dict(**section) == CONFIG["arch"]


def test_a_key_that_is_not_there_is_told() -> None:
    with pytest.raises(KeyError, match="nothing"):
        parser()["nothing"]
    with pytest.raises(AttributeError, match="no 'nothing'"):
        _ = parser().nothing
    with pytest.raises(AttributeError, match="no 'lrr' here; there are: lr"):
        _ = parser().optimizer.args.lrr


def test_a_section_can_be_copied_and_pickled() -> None:
    section = Section({"a": {"b": [1]}})
    copied = copy.deepcopy(section)
    copied.a.b.append(2)
    assert section.a.b == [1]


def test_plain_is_a_copy_in_plain_types() -> None:
    config = parser()
    config["own"]["path"] = Path("a/b")
    config["own"]["pair"] = (1, torch.float32)
    plain = config.plain()
    assert plain["own"] == {
        "list": [1, {"deep": 2}],
        "off": None,
        "path": "a/b",
        "pair": [1, "torch.float32"],
    }
    assert type(plain["own"]) is dict
    plain["own"]["list"].append(3)
    assert config.own.list == [1, {"deep": 2}]


@pytest.mark.parametrize(("changes", "seed"), [({}, 7), ({"seed": 0}, 0)])
def test_the_seed_is_the_configs(changes: dict[str, Any], seed: int) -> None:
    assert parser(**changes).seed == seed


def test_without_a_seed_it_is_that_of_pytorch_template() -> None:
    config = copy.deepcopy(CONFIG)
    del config["seed"]
    assert ConfigParser(config).seed == 123


def test_only_the_projects_own_keys_that_nothing_has_read_are_unread() -> None:
    config = parser(**{"other": 1, "third": 2, "__comment": "x", "$schema": "y"})
    assert config.unread_keys() == ["own", "other", "third"]
    _ = config["own"], config.other
    config.get("third")
    assert config.unread_keys() == []


def test_asking_whether_a_key_is_there_does_not_read_it() -> None:
    config = parser()
    assert "own" in config
    assert config.unread_keys() == ["own"]


@pytest.mark.parametrize(
    ("verbosity", "level"), [(0, logging.WARNING), (1, logging.INFO), (2, logging.DEBUG)]
)
def test_a_logger_has_the_level_of_its_verbosity(verbosity: int, level: int) -> None:
    logger = parser().get_logger("probe.parser", verbosity)
    assert (logger.name, logger.level) == ("probe.parser", level)


def test_references_are_resolved() -> None:
    config = ConfigParser(
        {**CONFIG, "size": 9, "arch": {"type": "SmallConvNet", "args": {"width": "${size}"}}}
    )
    assert config.arch.args.width == 9


# -- the constructor ------------------------------------------------------------------------------------------------


def test_the_constructor_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = parser()
    _ = config.save_dir, config.log_dir, config.plain()
    assert list(tmp_path.iterdir()) == []


def test_the_constructor_leaves_the_values_that_it_is_given() -> None:
    given = copy.deepcopy(CONFIG)
    config = ConfigParser(given, modification={"optimizer;args;lr": 9.0})
    config["trainer"]["epochs"] = 99
    assert given == CONFIG


def test_a_modification_replaces_values_and_none_leaves_them() -> None:
    config = ConfigParser(
        copy.deepcopy(CONFIG),
        modification={"optimizer;args;lr": 0.5, "trainer;epochs": None, "own;new;key": 1},
    )
    assert config.optimizer.args.lr == 0.5
    assert config.trainer.epochs == 1
    assert config.own.new.key == 1


def test_a_run_has_a_folder_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    config = parser(trainer={"epochs": 1, "save_dir": "elsewhere"})
    assert config.save_dir == Path("elsewhere/probe/run")
    assert config.log_dir == Path("elsewhere/probe/run/log")
    assert len(ConfigParser(copy.deepcopy(CONFIG)).run_id) == len("20260101_120000")


def test_a_resumed_run_stays_in_its_folder_unless_it_gets_a_name(tmp_path: Path) -> None:
    checkpoint = tmp_path / "old" / "checkpoint-epoch3.pt"
    resumed = ConfigParser(copy.deepcopy(CONFIG), resume=str(checkpoint))
    assert resumed.resume == checkpoint
    assert (resumed.save_dir, resumed.log_dir) == (tmp_path / "old", tmp_path / "old" / "log")
    assert ConfigParser(copy.deepcopy(CONFIG), checkpoint, run_id="new").save_dir == Path(
        "saved/probe/new"
    )


# -- the command line -----------------------------------------------------------------------------------------------


def test_overrides_and_options_go_over_the_file(command_line: Any) -> None:
    config = command_line(
        "trainer.epochs=3",
        "-c",
        "c.json",
        "~metrics",
        "--lr",
        "0.5",
        "arch.args.width=8",
        "-b",
        "16",
    )
    assert config.trainer.epochs == 3
    assert config.optimizer.args.lr == 0.5
    assert config.data_loader.args.batch_size == 16
    assert config.arch.args.width == 8
    assert "metrics" not in config


@pytest.mark.parametrize("name", ["c", "c.json"])
def test_the_config_is_named_with_or_without_its_suffix(command_line: Any, name: str) -> None:
    assert command_line("-c", name).name == "probe"


def test_without_a_config_the_default_one_is_taken(command_line: Any) -> None:
    assert command_line().name == "digits"


def test_an_option_that_is_not_given_changes_nothing(command_line: Any) -> None:
    assert command_line("-c", "c").plain() == CONFIG


def test_a_run_id_names_the_folder(command_line: Any) -> None:
    assert command_line("-c", "c", "--run-id", "first").save_dir == Path("saved/probe/first")


@pytest.mark.parametrize("run_id", ["../x", "a/b", ".hidden", "", "x" * 65, "a b"])
def test_a_run_id_must_be_able_to_name_a_folder(command_line: Any, run_id: str) -> None:
    if run_id == "":
        assert command_line("-c", "c", "--run-id", run_id).run_id  # as not given
    else:
        with pytest.raises(UserError, match=r"--run-id .* must be 1 to 64 letters"):
            command_line("-c", "c", "--run-id", run_id)


@pytest.mark.parametrize(("device", "n_gpu"), [("cpu", 0), ("0", 1), ("1", 1), ("0,2", 2)])
def test_a_device_sets_how_many_accelerators_are_used(
    command_line: Any, monkeypatch: pytest.MonkeyPatch, device: str, n_gpu: int
) -> None:
    import os

    assert command_line("-c", "c", "-d", device).n_gpu == n_gpu
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ("" if device == "cpu" else device)


@pytest.mark.parametrize("device", ["gpu", "0,", "-1", "0,x", "cuda:0"])
def test_a_device_that_is_none_is_refused(command_line: Any, device: str) -> None:
    with pytest.raises(UserError, match="must be cpu, an index as in 0, or several as in 0,1"):
        command_line("-c", "c", f"-d={device}" if device == "-1" else f"-d{device}")


def test_a_parsed_command_line_serves_as_well(command_line: Any, tmp_path: Path) -> None:
    parsed = SimpleNamespace(
        config=str(tmp_path / "c.json"), resume=None, device=None, overrides=["seed=9"]
    )
    assert ConfigParser.from_args(parsed).seed == 9


def test_an_option_of_any_tuple_serves(command_line: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    option = SimpleNamespace(flags=["--wd"], type=float, target="optimizer;args;weight_decay")
    parsed = SimpleNamespace(config="c.json", resume=None, device=None, wd=0.25)
    assert ConfigParser.from_args(parsed, [option]).optimizer.args.weight_decay == 0.25


def test_resuming_a_folder_takes_its_newest_checkpoint_and_its_config(
    command_line: Any, tmp_path: Path
) -> None:
    run = run_folder(
        tmp_path / "run",
        "checkpoint-epoch9.pt",
        "checkpoint-epoch10.pt",
        "model_best.pt",
        config=CONFIG,
    )
    config = command_line("-r", str(run))
    assert config.resume == run / "checkpoint-epoch10.pt"
    assert config.save_dir == run
    assert config.plain() == CONFIG


def test_resuming_a_file_takes_that_file(command_line: Any, tmp_path: Path) -> None:
    run = run_folder(
        tmp_path / "run", "checkpoint-epoch9.pt", "checkpoint-epoch10.pt", config=CONFIG
    )
    assert (
        command_line("-r", str(run / "checkpoint-epoch9.pt")).resume == run / "checkpoint-epoch9.pt"
    )


def test_when_resuming_the_sections_of_a_given_config_replace_the_runs(
    command_line: Any, tmp_path: Path
) -> None:
    own = CONFIG | {"optimizer": {"type": "Adam", "args": {"lr": 1.0, "eps": 1.0}}, "only_here": 1}
    run = run_folder(tmp_path / "run", "checkpoint-epoch1.pt", config=own)
    (tmp_path / "tune.json").write_text(
        '{"optimizer": {"type": "SGD", "args": {"lr": 0.5}}}', encoding="utf-8"
    )
    config = command_line("-r", str(run), "-c", "tune.json", "trainer.epochs=9")
    assert config.optimizer == {"type": "SGD", "args": {"lr": 0.5}}
    assert (config.only_here, config.trainer.epochs, config.save_dir) == (1, 9, run)


def test_a_checkpoint_without_a_config_needs_one(command_line: Any, tmp_path: Path) -> None:
    run = run_folder(tmp_path / "run", "checkpoint-epoch1.pt")
    with pytest.raises(
        UserError, match=r"has no config.json beside the checkpoint; give one with -c"
    ):
        command_line("-r", str(run))
    assert command_line("-r", str(run), "-c", "c.json").plain() == CONFIG


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("-c", "d.json"), "no such config"),
        (("-c", "c", "trainer.epochs"), "an override is written KEY=VALUE"),
        (("-r", "nowhere"), "no such checkpoint or run folder"),
        (("-c", "c", "own.list.7=1"), "list takes an index"),
        (("-c", "c", "own.x=${nothing}"), "the config has no such key"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_line(
    command_line: Any, words: tuple[str, ...], message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        command_line(*words)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "value", ["1e-3", "3", "true", "null", "text", "[1, 2.5]", "'007'", "é😀", "{a: {b: 1}}"]
)
def test_the_resolved_config_is_the_same_when_read_again(
    command_line: Any, tmp_path: Path, value: str
) -> None:
    config = command_line("-c", "c", f"own.value={value}", "own.same=${own.value}")
    (tmp_path / "again.json").write_text(json.dumps(config.plain()), encoding="utf-8")
    assert command_line("-c", "again").plain() == config.plain()


def test_an_infinite_value_is_the_same_when_read_again(command_line: Any, tmp_path: Path) -> None:
    config = command_line("-c", "c", "own.value=[.inf, -.inf]")
    assert config.own.value == [math.inf, -math.inf]
    (tmp_path / "again.json").write_text(json.dumps(config.plain()), encoding="utf-8")
    assert command_line("-c", "again").plain() == config.plain()


# -- making ---------------------------------------------------------------------------------------------------------


def test_init_obj_takes_a_type_from_a_module() -> None:
    config = parser(arch={"type": "Linear", "args": {"in_features": 2}})
    layer = config.init_obj("arch", nn, out_features=3)
    assert layer.weight.shape == (3, 2)
    optimizer = config.init_obj("optimizer", torch.optim, layer.parameters())
    assert optimizer.param_groups[0]["lr"] == 0.01


def test_init_ftn_fixes_arguments_without_calling() -> None:
    config = parser(loss={"type": "smooth_l1_loss", "args": {"beta": 2.0}})
    loss = config.init_ftn("loss", nn.functional, reduction="sum")
    output, target = torch.tensor([0.0, 1.0]), torch.tensor([1.0, 1.0])
    assert loss(output, target) == nn.functional.smooth_l1_loss(
        output, target, reduction="sum", beta=2.0
    )
    fixed = config.init_ftn("loss", nn.functional, output)
    assert fixed(target) == nn.functional.smooth_l1_loss(output, target, beta=2.0)


@pytest.mark.parametrize("args", [{}, None])
def test_init_obj_serves_without_arguments(args: Any) -> None:
    assert isinstance(parser(arch={"type": "ReLU", "args": args}).init_obj("arch", nn), nn.ReLU)


@pytest.mark.parametrize(
    ("section", "kwargs", "message"),
    [
        (
            {"type": "Lineer", "args": {}},
            {},
            "arch.type: no 'Lineer' in torch.nn (did you mean 'Linear'?)",
        ),
        (
            {"type": "Linear", "args": {"in_features": 1}},
            {"in_features": 2},
            "arch.args.in_features: is given by the program; take it out of the config",
        ),
        ({"type": "Linear", "args": {"in_features": 1}}, {}, "arch: Linear: "),
    ],
)
def test_what_init_obj_refuses_is_one_line(
    section: Any, kwargs: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        parser(arch=section).init_obj("arch", nn, **kwargs)
    assert str(caught.value).startswith(message)


def test_metrics_are_made_under_the_name_they_are_logged_by() -> None:
    config = parser(
        metrics=[
            "accuracy",
            {"type": "top_k_acc", "args": {"k": 2}, "name": "top2"},
            {"type": "metric.binary_accuracy"},
            {"type": "accuracy", "name": "again"},
            {"type": "MeanSquaredError", "name": "mse"},
        ]
    )
    metrics = config.build_metrics()
    assert [metric.__name__ for metric in metrics] == [
        "accuracy",
        "top2",
        "binary_accuracy",
        "again",
        "mse",
    ]
    from model.metric import accuracy

    assert accuracy.__name__ == "accuracy"  # the function of the project keeps its own
    assert metrics[1].keywords == {"k": 2}


@pytest.mark.parametrize(
    ("argument", "takes"), [("training", True), ("batch_size", True), ("trainig", False)]
)
def test_takes_tells_whether_a_part_has_a_parameter(argument: str, takes: bool) -> None:
    assert parser().takes("data_loader", argument) is takes


def test_a_trainer_gets_of_what_is_given_only_what_its_constructor_takes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import trainer.trainer
    from base import BaseTrainer

    class Probe(BaseTrainer):
        def __init__(
            self,
            net: Any,
            loss: Any,
            metrics: Any,
            optim: Any,
            config: Any,
            noise: float,
            n: int = 3,
        ) -> None:
            self.got = (net, loss, metrics, optim, config, noise, n)

    Probe.__module__ = "trainer.trainer"
    monkeypatch.setattr(trainer.trainer, "Probe", Probe, raising=False)
    config = parser(trainer={"type": "Probe", "epochs": 1, "noise": 0.5})
    given = {
        "model": 1,
        "criterion": 2,
        "metric_ftns": 3,
        "optimizer": 4,
        "config": 5,
        "device": 6,
        "data_loader": 7,
    }
    assert config.build_trainer(**given).got == (1, 2, 3, 4, 5, 0.5, 3)
    assert config.trainer_class() is Probe


def test_a_part_is_made_from_its_section() -> None:
    network = parser().build("arch")
    assert type(network).__name__ == "SmallConvNet"
    optimizer = parser().build("optimizer", network.parameters())
    assert isinstance(optimizer, torch.optim.Adam)
    assert not isinstance(parser().build("loss"), functools.partial)
