"""ConfigParser works as pytorch-template's projects use it."""

from __future__ import annotations

import argparse
import collections
import copy
import json
import logging
import pickle
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from config import ConfigParser, CustomArgs
from tests.contract.contract_objects import make_config
from utils import write_json
from utils.errors import UserError


def make_template_parser() -> argparse.ArgumentParser:
    """Returns the command line of the template's train.py."""
    parser = argparse.ArgumentParser()
    for flags in (("-c", "--config"), ("-r", "--resume"), ("-d", "--device")):
        parser.add_argument(*flags, default=None, type=str)
    return parser


Plain = collections.namedtuple("Plain", "flags type target")


@pytest.mark.parametrize("kind", [Plain, CustomArgs])
def test_from_args_takes_custom_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Any
) -> None:
    write_json(make_config(tmp_path), tmp_path / "c.json")
    words = [
        "train.py",
        "-c",
        str(tmp_path / "c.json"),
        "--learning_rate",
        "0.5",
        "--depth",
        "7",
        "-q",
        "x",
    ]
    monkeypatch.setattr(sys, "argv", words)
    config = ConfigParser.from_args(
        make_template_parser(),
        [
            kind(["--lr", "--learning_rate"], type=float, target="optimizer;args;lr"),
            kind(["--bs"], type=int, target="data_loader;args;batch_size"),
            kind(["--depth"], type=int, target="arch;args;depth"),
            kind(["-q"], type=str, target="extra;word"),
        ],
    )
    assert config["optimizer"]["args"]["lr"] == 0.5
    assert config["data_loader"]["args"]["batch_size"] == 4, (
        "an option that is not given changes nothing"
    )
    assert config["arch"]["args"] == {"size": 3, "depth": 7}
    assert config["extra"]["word"] == "x"
    assert config.resume is None


def test_from_args_without_options_and_with_parsed_arguments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_json(make_config(tmp_path), tmp_path / "c.json")
    monkeypatch.setattr(sys, "argv", ["test.py", "-c", str(tmp_path / "c.json")])
    assert ConfigParser.from_args(make_template_parser())["name"] == "hand"
    parsed = make_template_parser().parse_args(["-c", str(tmp_path / "c.json")])
    assert ConfigParser.from_args(parsed)["name"] == "hand"


def test_resume_reads_the_config_beside_the_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With ``-c``, the sections of that file replace those of the run, for fine-tuning."""
    run = tmp_path / "saved"
    run.mkdir()
    write_json(make_config(tmp_path), run / "config.json")
    checkpoint = run / "checkpoint-epoch3.pth"
    checkpoint.touch()
    monkeypatch.setattr(sys, "argv", ["train.py", "-r", str(checkpoint)])
    config = ConfigParser.from_args(make_template_parser())
    assert config.resume == checkpoint
    assert config["arch"]["args"]["size"] == 3
    (tmp_path / "tune.json").write_text('{"arch": {"type": "Net", "args": {"depth": 1}}}')
    monkeypatch.setattr(
        sys, "argv", ["train.py", "-r", str(checkpoint), "-c", str(tmp_path / "tune.json")]
    )
    config = ConfigParser.from_args(make_template_parser())
    assert config["arch"]["args"] == {"depth": 1}
    assert config["optimizer"]["type"] == "SGD"


def test_the_constructor_creates_no_files(tmp_path: Path) -> None:
    values = make_config(tmp_path)
    before = copy.deepcopy(values)
    config = ConfigParser(
        values, modification={"optimizer;args;lr": 0.3, "name": None}, run_id="one"
    )
    assert config["optimizer"]["args"]["lr"] == 0.3
    assert config["name"] == "hand"
    assert values == before
    assert config.save_dir == tmp_path / "hand" / "one"
    assert config.log_dir == tmp_path / "hand" / "one" / "log"
    assert list(tmp_path.iterdir()) == []


def test_sections_are_dicts_that_can_be_changed(tmp_path: Path) -> None:
    config = ConfigParser(
        make_config(tmp_path) | {"__comment": "x", "stages": [{"size": 1}, {"size": 2}]}
    )
    section = config["trainer"]
    assert isinstance(section, dict)
    assert section.get("epochs") == 2
    assert section.get("nothing", "else") == "else"
    assert [key for key, _ in section.items()] == ["epochs", "save_dir", "save_period", "verbosity"]
    section["epochs"] = 9
    section.update(extra=1)
    section.setdefault("fresh", []).append(3)
    del section["verbosity"]
    config["arch"]["args"]["size"] = 5
    config["stages"][1]["size"] = 20
    assert config["trainer"] == {
        "epochs": 9,
        "save_dir": str(tmp_path),
        "save_period": 1,
        "extra": 1,
        "fresh": [3],
    }
    assert config.config["arch"]["args"]["size"] == 5
    assert {**config["arch"]["args"]} == {"size": 5}
    assert json.loads(json.dumps(config.config))["stages"] == [{"size": 1}, {"size": 20}]
    assert config.plain()["trainer"]["extra"] == 1
    assert config["__comment"] == "x"
    assert "arch" in config
    assert "optimizer_D" not in config
    assert config.get("optimizer_D") is None


def test_attribute_access(tmp_path: Path) -> None:
    config = ConfigParser(make_config(tmp_path))
    assert config.trainer.epochs == 2
    config.trainer.epochs = 4
    assert config["trainer"]["epochs"] == 4
    assert config.arch.args.size == 3
    assert not hasattr(config, "lr_scheduler")
    assert not hasattr(config.trainer, "monitor")
    assert getattr(config.trainer, "monitor", "off") == "off"
    with pytest.raises(AttributeError, match="epochs"):
        _ = config.trainer.epoch


def test_a_config_can_be_copied_and_pickled(tmp_path: Path) -> None:
    """Projects pass it to datasets, and datasets are sent to worker processes."""
    config = ConfigParser(make_config(tmp_path), run_id="one")
    for other in (copy.deepcopy(config), pickle.loads(pickle.dumps(config))):
        assert isinstance(other, ConfigParser)
        assert other["arch"]["args"]["size"] == 3
        assert other.trainer.epochs == 2
        assert other.save_dir == config.save_dir
        other["arch"]["args"]["size"] = 4
    assert config["arch"]["args"]["size"] == 3


def make_module(**members: Any) -> types.ModuleType:
    """Returns a module such as projects pass to ``init_obj``."""
    module = types.ModuleType("model.nets")
    vars(module).update(members)
    return module


def record_call(*args: Any, **kwargs: Any) -> tuple[Any, ...]:
    return args, kwargs


def test_init_obj(tmp_path: Path) -> None:
    config = ConfigParser(make_config(tmp_path) | {"bare": {"type": "Net"}})
    assert config.init_obj("arch", make_module(Net=record_call), 1, 2, depth=4) == (
        (1, 2),
        {"size": 3, "depth": 4},
    )
    assert config.init_obj("bare", make_module(Net=record_call)) == ((), {})
    weights = [nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2), requires_grad=False)]
    optimizer = config.init_obj(
        "optimizer", torch.optim, filter(lambda p: p.requires_grad, weights)
    )
    assert isinstance(optimizer, torch.optim.SGD)
    assert optimizer.param_groups[0]["lr"] == 0.1
    assert optimizer.param_groups[0]["params"] == weights[:1]
    config["arch"]["args"]["size"] = 8
    assert config.init_obj("arch", make_module(Net=record_call))[1] == {"size": 8}


def test_init_ftn(tmp_path: Path) -> None:
    config = ConfigParser(make_config(tmp_path))
    function = config.init_ftn("arch", make_module(Net=record_call), 1, depth=4)
    assert function(2, width=5) == ((1, 2), {"size": 3, "depth": 4, "width": 5})
    assert function() == ((1,), {"size": 3, "depth": 4})
    assert config.init_ftn("arch", make_module(Net=record_call))(7) == ((7,), {"size": 3})


@pytest.mark.parametrize("make", ["init_obj", "init_ftn"])
def test_the_program_must_not_overwrite_an_argument_of_the_config(
    tmp_path: Path, make: str
) -> None:
    config = ConfigParser(make_config(tmp_path))
    with pytest.raises(UserError, match=r"arch\.args\.size"):
        getattr(config, make)("arch", make_module(Net=record_call), size=4)


@pytest.mark.parametrize("make", ["init_obj", "init_ftn"])
def test_arguments_may_have_any_name(tmp_path: Path, make: str) -> None:
    names = ["keys", "tree", "found", "node", "slot", "args", "kwargs", "self", "name", "module"]
    values = make_config(tmp_path)
    values["arch"]["args"] = dict.fromkeys(names, 1) | {"__comment": "not an argument"}
    result = getattr(ConfigParser(values), make)("arch", make_module(Net=lambda **kwargs: kwargs))
    assert (result() if make == "init_ftn" else result) == dict.fromkeys(names, 1)


def test_init_obj_suggests_a_name_for_a_missing_class(tmp_path: Path) -> None:
    config = ConfigParser(make_config(tmp_path))
    with pytest.raises(
        UserError, match=r"arch\.type: no 'Net' in model\.nets \(did you mean 'Nets'\?\)"
    ):
        config.init_obj("arch", make_module(Nets=record_call))


def test_get_logger(tmp_path: Path) -> None:
    config = ConfigParser(make_config(tmp_path))
    assert config.get_logger("contract").level == logging.DEBUG
    for verbosity, level in ((0, logging.WARNING), (1, logging.INFO), (2, logging.DEBUG)):
        logger = config.get_logger("contract", verbosity)
        assert logger is logging.getLogger("contract")
        assert logger.level == level
