"""The command line: the config, overrides, options, resuming."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from config import ConfigParser, CustomArgs
from tests.config.experiment import CONFIG
from utils.errors import UserError


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


@pytest.fixture
def command_line_with_append(monkeypatch: pytest.MonkeyPatch, command_line: Any) -> Any:
    """Runs ``from_args`` with a parser that takes several ``-c``, in the folder with ``c.json``."""

    def parse(*words: str) -> ConfigParser:
        args = argparse.ArgumentParser()
        args.add_argument("-c", "--config", action="append")
        args.add_argument("-r", "--resume")
        args.add_argument("-d", "--device")
        monkeypatch.setattr(sys, "argv", ["train.py", *words])
        return ConfigParser.from_args(args)

    return parse


def make_run_folder(folder: Path, *checkpoints: str, config: dict[str, Any] | None = None) -> Path:
    folder.mkdir(parents=True)
    for name in checkpoints:
        (folder / name).write_bytes(b"")
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def test_overrides_and_options_replace_values_of_the_file(command_line: Any) -> None:
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


@pytest.mark.parametrize(
    "words",
    [
        ("optimizer.args.eps=1", "~optimizer.args", "--lr", "0.5"),
        ("~optimizer.args", "--lr", "0.5", "optimizer.args.eps=1"),
    ],
)
def test_a_removal_comes_first_wherever_it_stands(command_line: Any, words: Any) -> None:
    assert command_line("-c", "c", *words).optimizer.args == {"lr": 0.5, "eps": 1}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("--lr", "0.1", "optimizer.args.lr=0.2"),
            "--lr 0.1: optimizer.args.lr: optimizer.args.lr=",
        ),
        (
            ("--lr", "0.1", "optimizer={type: SGD}"),
            "--lr 0.1: optimizer.args.lr: optimizer={type: ",
        ),
        (("-d", "cpu", "n_gpu=1"), "-d cpu: n_gpu: n_gpu=1 says otherwise; give one of the two"),
    ],
)
def test_an_option_and_an_override_must_agree(
    command_line: Any, words: tuple[str, ...], message: str
) -> None:
    with pytest.raises(UserError) as caught:
        command_line("-c", "c", *words)
    assert str(caught.value).startswith(message)
    assert command_line("-c", "c", "--lr", "0.1", "optimizer.args.lr=0.1").optimizer.args.lr == 0.1
    assert math.isnan(command_line("-c", "c", "--lr", "nan").optimizer.args.lr)


def test_an_override_cannot_extend_a_config(command_line: Any) -> None:
    with pytest.raises(UserError, match=r"^extends=c\.json: only a config file can extend another"):
        command_line("-c", "c.json", "extends=c.json")


@pytest.mark.parametrize("name", ["c", "c.json"])
def test_the_config_is_named_with_or_without_its_suffix(command_line: Any, name: str) -> None:
    assert command_line("-c", name).name == "probe"


def test_the_default_config_is_config_json(command_line: Any) -> None:
    assert command_line().name == "digits"


def test_of_several_configs_a_later_one_wins(command_line_with_append: Any) -> None:
    Path("vit.yaml").write_text("arch: {args: {width: 8}}\n~metrics:\nnew: 1\n", "utf-8")
    config = command_line_with_append("-c", "c", "new=2", "--config", "vit.yaml", "seed=1")
    assert config.arch == {"type": "SmallConvNet", "args": {"width": 8}}
    assert (config.new, config.seed, config.name) == (2, 1, "probe")
    assert "metrics" not in config
    assert config.changes() == {"arch.args.width": 8, "new": 2, "seed": 1}
    assert command_line_with_append().name == "digits"


def test_all_wrong_files_of_several_are_reported(command_line_with_append: Any) -> None:
    Path("bad.yaml").write_text("a: [", "utf-8")
    Path("folder").mkdir()
    with pytest.raises(UserError) as caught:
        command_line_with_append("-c", "nowhere", "-c", "folder", "-c", "bad", "-c", "c,d")
    sources = [line.split(":")[0] for line in str(caught.value).splitlines()]
    assert sources == ["nowhere", "folder", "c,d", "bad.yaml"]


def test_several_configs_are_merged_before_they_replace_sections_of_a_resumed_run(
    command_line_with_append: Any, tmp_path: Path
) -> None:
    run = make_run_folder(
        tmp_path / "run", "checkpoint-epoch1.pt", config=CONFIG | {"only_here": 1}
    )
    Path("a.yaml").write_text("optimizer: {type: SGD, args: {lr: 0.5}}\n", "utf-8")
    Path("b.yaml").write_text("optimizer: {args: {momentum: 0.9}}\n", "utf-8")
    config = command_line_with_append("-r", str(run), "-c", "a", "-c", "b")
    assert config.optimizer == {"type": "SGD", "args": {"lr": 0.5, "momentum": 0.9}}
    assert config.only_here == 1


def test_a_missing_option_changes_nothing(command_line: Any) -> None:
    assert command_line("-c", "c").plain() == CONFIG


@pytest.mark.parametrize("run_id", ["first", "lr/trial-3"])
def test_a_run_id_names_the_folder(command_line: Any, run_id: str) -> None:
    assert command_line("-c", "c", "--run-id", run_id).save_dir == Path("saved/probe", run_id)


@pytest.mark.parametrize("run_id", ["a/../b", "a//b", "/a", ".hidden", "", "x" * 65, "a b"])
def test_a_run_id_must_be_able_to_name_a_folder(command_line: Any, run_id: str) -> None:
    if run_id == "":
        assert command_line("-c", "c", "--run-id", run_id).run_id  # as not given
    else:
        with pytest.raises(UserError, match=r"--run-id .* must be 1 to 64 letters"):
            command_line("-c", "c", "--run-id", run_id)


@pytest.mark.parametrize(("device", "n_gpu"), [("cpu", 0), ("0", 1), ("1", 1), ("0,2", 2)])
def test_a_device_sets_the_number_of_accelerators(
    command_line: Any, monkeypatch: pytest.MonkeyPatch, device: str, n_gpu: int
) -> None:
    assert command_line("-c", "c", "-d", device).n_gpu == n_gpu
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ("" if device == "cpu" else device)


@pytest.mark.parametrize("device", ["gpu", "0,", "-1", "0,x", "cuda:0"])
def test_an_unknown_device_is_an_error(command_line: Any, device: str) -> None:
    with pytest.raises(UserError, match="must be cpu, an index as in 0, or several as in 0,1"):
        command_line("-c", "c", f"-d={device}" if device == "-1" else f"-d{device}")


def test_a_parsed_command_line_is_accepted_too(command_line: Any, tmp_path: Path) -> None:
    parsed = SimpleNamespace(
        config=str(tmp_path / "c.json"), resume=None, device=None, overrides=["seed=9"]
    )
    assert ConfigParser.from_args(parsed).seed == 9


def test_an_option_may_be_any_object_with_these_attributes(
    command_line: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    option = SimpleNamespace(flags=["--wd"], type=float, target="optimizer;args;weight_decay")
    parsed = SimpleNamespace(config="c.json", resume=None, device=None, wd=0.25)
    assert ConfigParser.from_args(parsed, [option]).optimizer.args.weight_decay == 0.25


def test_resuming_a_folder_uses_its_newest_checkpoint_and_its_config(
    command_line: Any, tmp_path: Path
) -> None:
    run = make_run_folder(
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


def test_resuming_a_file_uses_that_file(command_line: Any, tmp_path: Path) -> None:
    run = make_run_folder(
        tmp_path / "run", "checkpoint-epoch9.pt", "checkpoint-epoch10.pt", config=CONFIG
    )
    assert (
        command_line("-r", str(run / "checkpoint-epoch9.pt")).resume == run / "checkpoint-epoch9.pt"
    )


def test_sections_of_a_given_config_replace_those_of_a_resumed_run(
    command_line: Any, tmp_path: Path
) -> None:
    saved = CONFIG | {
        "optimizer": {"type": "Adam", "args": {"lr": 1.0, "eps": 1.0}},
        "only_here": 1,
    }
    run = make_run_folder(tmp_path / "run", "checkpoint-epoch1.pt", config=saved)
    (tmp_path / "tune.json").write_text(
        '{"optimizer": {"type": "SGD", "args": {"lr": 0.5}}}', encoding="utf-8"
    )
    config = command_line("-r", str(run), "-c", "tune.json", "trainer.epochs=9")
    assert config.optimizer == {"type": "SGD", "args": {"lr": 0.5}}
    assert (config.only_here, config.trainer.epochs, config.save_dir) == (1, 9, run)


def test_a_checkpoint_without_a_config_needs_one(command_line: Any, tmp_path: Path) -> None:
    run = make_run_folder(tmp_path / "run", "checkpoint-epoch1.pt")
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
        (("-c", "c", "extra.list.7=1"), "list takes an index"),
        (("-c", "c", "extra.x=${nothing}"), "the config has no such key"),
    ],
)
def test_a_mistake_on_the_command_line_is_reported_in_one_line(
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
    config = command_line("-c", "c", f"extra.value={value}", "extra.same=${extra.value}")
    (tmp_path / "again.json").write_text(json.dumps(config.plain()), encoding="utf-8")
    assert command_line("-c", "again").plain() == config.plain()


def test_an_infinite_value_is_the_same_when_read_again(command_line: Any, tmp_path: Path) -> None:
    config = command_line("-c", "c", "extra.value=[.inf, -.inf]")
    assert config.extra.value == [math.inf, -math.inf]
    (tmp_path / "again.json").write_text(json.dumps(config.plain()), encoding="utf-8")
    assert command_line("-c", "again").plain() == config.plain()
