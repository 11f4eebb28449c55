"""ConfigParser: the values, the run's folder, and the check."""

from __future__ import annotations

import copy
import logging
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from base.schema import SCHEMA
from config import ConfigError, ConfigParser
from config.read.merge import apply_override
from config.read.source import read_tree
from config.read.tree import Tree
from tests.config.experiment import CONFIG, make_parser
from utils.errors import UserError

# -- reading ---------------------------------------------------------------------------------------


def test_values_are_items_and_attributes() -> None:
    config = make_parser()
    assert config["optimizer"]["args"]["lr"] == 0.01
    assert config.optimizer.args.lr == 0.01
    assert config.extra.list[1].deep == 2
    assert config["extra"].get("nothing", 5) == 5
    assert "extra" in config
    assert "nothing" not in config
    assert config.get("nothing", 3) == 3
    assert list(config["arch"].items()) == [("type", "SmallConvNet"), ("args", {"width": 4})]


def test_sections_are_changed_by_item_and_attribute() -> None:
    config = make_parser()
    config["trainer"]["epochs"] = 5
    config.optimizer.args.lr = 1.0
    config["extra"].setdefault("new", []).append(1)
    assert (config.trainer.epochs, config["optimizer"]["args"]["lr"], config["extra"]["new"]) == (
        5,
        1.0,
        [1],
    )
    assert config.plain()["trainer"]["epochs"] == 5


def test_a_missing_key_is_an_error() -> None:
    with pytest.raises(KeyError, match="nothing"):
        make_parser()["nothing"]
    with pytest.raises(AttributeError, match="no 'nothing'"):
        _ = make_parser().nothing
    with pytest.raises(AttributeError, match="no 'lrr' here; there are: lr"):
        _ = make_parser().optimizer.args.lrr


def test_plain_is_a_copy_in_plain_types() -> None:
    config = make_parser()
    config["extra"]["path"] = Path("a/b")
    config["extra"]["pair"] = (1, torch.float32)
    plain = config.plain()
    assert plain["extra"] == {
        "list": [1, {"deep": 2}],
        "off": None,
        "path": "a/b",
        "pair": [1, "torch.float32"],
    }
    assert type(plain["extra"]) is dict
    plain["extra"]["list"].append(3)
    assert config.extra.list == [1, {"deep": 2}]


@pytest.mark.parametrize(("changes", "seed"), [({}, 7), ({"seed": 0}, 0)])
def test_the_seed_comes_from_the_config(changes: dict[str, Any], seed: int) -> None:
    assert make_parser(**changes).seed == seed


def test_the_default_seed_is_that_of_pytorch_template() -> None:
    config = copy.deepcopy(CONFIG)
    del config["seed"]
    assert ConfigParser(config).seed == 123


def test_unknown_keys_are_unread_until_something_reads_them() -> None:
    config = make_parser(**{"other": 1, "third": 2, "__comment": "x", "$schema": "y"})
    assert config.unread_keys() == ["extra", "other", "third"]
    _ = config["extra"], config.other
    config.get("third")
    assert config.unread_keys() == []


def test_in_does_not_read_a_key() -> None:
    config = make_parser()
    assert "extra" in config
    assert config.unread_keys() == ["extra"]


@pytest.mark.parametrize(
    ("verbosity", "level"), [(0, logging.WARNING), (1, logging.INFO), (2, logging.DEBUG)]
)
def test_a_logger_has_the_level_of_its_verbosity(verbosity: int, level: int) -> None:
    logger = make_parser().get_logger("probe.parser", verbosity)
    assert (logger.name, logger.level) == ("probe.parser", level)


def test_references_are_resolved() -> None:
    config = ConfigParser(
        {**CONFIG, "size": 9, "arch": {"type": "SmallConvNet", "args": {"width": "${size}"}}}
    )
    assert config.arch.args.width == 9


def test_a_key_of_a_referenced_value_is_read() -> None:
    config = make_parser(extra={"a": 1}, loss={"type": "x", "args": {"b": "${extra.a}"}})
    assert config.unread_keys() == []


def test_unread_keys_are_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    config = make_parser(other=1)
    config.log_unread_keys(logging.getLogger("probe"))
    _ = config["extra"], config["other"]
    config.log_unread_keys(logging.getLogger("probe"))
    assert caplog.messages == ["Nothing has read these keys of the config: 'extra', 'other'"]


def test_changes_are_the_values_of_overrides() -> None:
    tree = Tree(copy.deepcopy(CONFIG))
    apply_override(tree, "optimizer.args.lr=0.5")
    apply_override(tree, "extra.new=1")
    assert ConfigParser(tree).changes() == {"optimizer.args.lr": 0.5, "extra.new": 1}


# -- the constructor -------------------------------------------------------------------------------


def test_the_constructor_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = make_parser()
    _ = config.save_dir, config.log_dir, config.plain()
    assert list(tmp_path.iterdir()) == []


def test_the_constructor_copies_its_values() -> None:
    given = copy.deepcopy(CONFIG)
    config = ConfigParser(given, modification={"optimizer;args;lr": 9.0})
    config["trainer"]["epochs"] = 99
    assert given == CONFIG


def test_a_modification_sets_values_and_none_leaves_them() -> None:
    config = ConfigParser(
        copy.deepcopy(CONFIG),
        modification={"optimizer;args;lr": 0.5, "trainer;epochs": None, "extra;new;key": 1},
    )
    assert config.optimizer.args.lr == 0.5
    assert config.trainer.epochs == 1
    assert config.extra.new.key == 1


def test_the_folder_of_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    config = make_parser(trainer={"epochs": 1, "save_dir": "elsewhere"})
    assert config.save_dir == Path("elsewhere/probe/run")
    assert config.log_dir == Path("elsewhere/probe/run/log")
    assert len(ConfigParser(copy.deepcopy(CONFIG)).run_id) == len("20260101_120000")


def test_a_resumed_run_stays_in_its_folder_unless_it_gets_an_id(tmp_path: Path) -> None:
    checkpoint = tmp_path / "old" / "checkpoint-epoch3.pt"
    resumed = ConfigParser(copy.deepcopy(CONFIG), resume=str(checkpoint))
    assert resumed.resume == checkpoint
    assert (resumed.save_dir, resumed.log_dir) == (tmp_path / "old", tmp_path / "old" / "log")
    assert ConfigParser(copy.deepcopy(CONFIG), checkpoint, run_id="new").save_dir == Path(
        "saved/probe/new"
    )


# -- checking --------------------------------------------------------------------------------------


def test_without_a_schema_the_error_says_what_to_do() -> None:
    config = ConfigParser(copy.deepcopy(CONFIG))
    with pytest.raises(RuntimeError, match=r"call check\(schema\) first"):
        config.build("arch")


def test_check_keeps_the_schema_and_reads_no_key() -> None:
    config = make_parser()
    config.check(SCHEMA)
    assert config.schema is SCHEMA
    assert config.unread_keys() == ["extra"]


def test_unread_keys_of_the_trainer_are_found_if_its_loop_is_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = make_parser(trainer={"epochs": 1, "noise": 0.5})
    monkeypatch.setattr("config.check.closed_trainer.READS_SECTION", re.compile(""))
    config.check(SCHEMA)
    assert config.unread_keys() == ["extra", "trainer.noise"]
    monkeypatch.setattr("trainer.trainer.Trainer.logged_names", lambda *_: None)
    config.check(SCHEMA)
    assert config.unread_keys() == ["extra"]
    assert config.unread_keys(has_trained=True) == ["extra", "trainer.noise"]


def test_keys_that_the_code_of_a_trainer_names_are_listed_after_the_training(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = make_parser(weights={"labels": 1}, late=2)
    monkeypatch.setattr(
        "config.check.unread.read_sources", lambda _: ["self.config['late'] + self.config.extra"]
    )
    assert config.unread_keys() == ["weights"]
    assert config.unread_keys(has_trained=True) == ["extra", "weights", "late"]


def test_an_override_inside_a_section_that_is_read_in_part_is_unread() -> None:
    tree = Tree(copy.deepcopy(CONFIG) | {"extra": {"a": 1, "c": {"d": 2}}})
    for override in ("extra.b=1", "extra.c.e=2", "extra.a=3"):
        apply_override(tree, override)
    config = ConfigParser(tree)
    config.check(SCHEMA)
    assert config.unread_keys() == ["extra"]
    _ = config["extra"]["a"], config["extra"]["c"]["d"], config.changes(), config.plain()
    assert config.unread_keys() == ["extra.b", "extra.c.e"]
    assert dict(**config["extra"], **config["extra"]["c"])
    assert config.unread_keys() == []


def test_the_keys_of_an_earlier_run_are_not_refused() -> None:
    tree = Tree(copy.deepcopy(CONFIG) | {"trainer": {"epochs": 1, "own_key": 1}}, is_saved=True)
    ConfigParser(tree).check(SCHEMA)
    apply_override(tree, "trainer.own_key=2")
    with pytest.raises(ConfigError, match="own_key: unknown key; Trainer has no such option"):
        ConfigParser(tree).check(SCHEMA)


@pytest.fixture
def file_parser(tmp_path: Path) -> ConfigParser:
    """A ConfigParser whose values come from a file."""
    path = tmp_path / "c.yaml"
    path.write_text("trainer:\n  epochs: 1\ntransfer:\n  min_match: 2\n", encoding="utf-8")
    config = ConfigParser(read_tree(path))
    config.schema = SCHEMA
    return config


def test_an_error_inside_gets_the_position_of_its_key(
    tmp_path: Path, file_parser: ConfigParser
) -> None:
    with pytest.raises(ConfigError) as caught, file_parser.locating_errors():
        raise UserError("is too long", key="trainer.epochs")
    assert str(caught.value) == f"{tmp_path}/c.yaml:2:3: trainer.epochs: is too long"


def test_an_error_without_a_key_of_the_config_passes(file_parser: ConfigParser) -> None:
    error = UserError("data/: no such folder")
    with pytest.raises(UserError) as caught, file_parser.locating_errors():
        raise error
    assert caught.value is error


def test_options_that_are_wrong_are_located(tmp_path: Path, file_parser: ConfigParser) -> None:
    with pytest.raises(ConfigError) as caught:
        file_parser.options("transfer")
    message = "transfer.min_match: 2 must lie between 0 and 1"
    assert str(caught.value) == f"{tmp_path}/c.yaml:4:3: {message}"


def test_options_are_the_defaults_without_a_section() -> None:
    assert make_parser().options("transfer").min_match == 0.5
    assert make_parser(transfer={"freeze": "*"}).options("transfer").freeze == "*"
