"""The names, signatures and behaviour that pytorch-template's projects rely on."""

from __future__ import annotations

import argparse
import collections
import copy
import importlib
import inspect
import json
import logging
import math
import pickle
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import (
    DataLoader,
    Dataset,
    TensorDataset,
    WeightedRandomSampler,
    get_worker_info,
)

from base import BaseDataLoader, BaseModel, BaseTrainer
from config import ConfigParser, CustomArgs
from logger import TensorboardWriter, setup_logging
from trainer import Trainer
from utils import MetricTracker, ensure_dir, inf_loop, prepare_device, read_json, write_json
from utils.errors import UserError

CPU = torch.device("cpu")


def make_config(tmp_path: Path, **trainer: Any) -> dict[str, Any]:
    """Returns a config for the classes of this file."""
    return {
        "name": "hand",
        "n_gpu": 0,
        "arch": {"type": "Net", "args": {"size": 3}},
        "data_loader": {"type": "Loader", "args": {"batch_size": 4}},
        "optimizer": {"type": "SGD", "args": {"lr": 0.1}},
        "loss": "mse",
        "metrics": [],
        "trainer": {
            "epochs": 2,
            "save_dir": str(tmp_path),
            "save_period": 1,
            "verbosity": 2,
            **trainer,
        },
    }


# -- where names are imported from -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("base", "BaseDataLoader BaseModel BaseTrainer"),
        ("base.base_data_loader", "BaseDataLoader"),
        ("base.base_model", "BaseModel"),
        ("base.base_trainer", "BaseTrainer"),
        ("logger", "TensorboardWriter setup_logging"),
        ("logger.logger", "setup_logging"),
        ("logger.visualization", "TensorboardWriter"),
        ("utils", "MetricTracker inf_loop prepare_device ensure_dir read_json write_json"),
        ("utils.util", "MetricTracker inf_loop prepare_device ensure_dir read_json write_json"),
        ("trainer", "Trainer"),
        ("trainer.trainer", "Trainer"),
        ("config", "ConfigParser"),
        ("data_loader.data_loaders", "MnistDataLoader"),
        ("model.model", "MnistModel"),
        ("model.loss", "nll_loss"),
        ("model.metric", "accuracy top_k_acc"),
    ],
)
def test_names_are_in_the_templates_modules(module: str, names: str) -> None:
    for name in names.split():
        assert hasattr(importlib.import_module(module), name), name


@pytest.mark.parametrize(
    ("function", "parameters"),
    [
        (ConfigParser, "config resume modification run_id"),
        (ConfigParser.from_args, "args options"),
        (ConfigParser.init_obj, "self name module args kwargs"),
        (ConfigParser.init_ftn, "self name module args kwargs"),
        (ConfigParser.get_logger, "self name verbosity"),
        (BaseDataLoader, "dataset batch_size shuffle validation_split num_workers collate_fn"),
        (BaseDataLoader.split_validation, "self"),
        (BaseTrainer, "model criterion metric_ftns optimizer config"),
        (BaseTrainer._train_epoch, "self epoch"),
        (BaseTrainer.train, "self"),
        (BaseTrainer._save_checkpoint, "self epoch save_best"),
        (BaseTrainer._resume_checkpoint, "self resume_path"),
        (
            Trainer,
            "model criterion metric_ftns optimizer config device data_loader valid_data_loader "
            "lr_scheduler len_epoch",
        ),
        (Trainer._valid_epoch, "self epoch"),
        (Trainer._progress, "self batch_idx"),
        (MetricTracker, "keys writer"),
        (MetricTracker.update, "self key value n"),
        (TensorboardWriter, "log_dir logger enabled"),
        (TensorboardWriter.set_step, "self step mode"),
        (setup_logging, "save_dir log_config default_level"),
        (prepare_device, "n_gpu_use"),
        (inf_loop, "data_loader"),
        (ensure_dir, "dirname"),
        (read_json, "fname"),
        (write_json, "content fname"),
    ],
)
def test_functions_take_the_templates_parameters(
    function: Callable[..., Any], parameters: str
) -> None:
    expected = parameters.split()
    assert list(inspect.signature(function).parameters)[: len(expected)] == expected


# -- ConfigParser ----------------------------------------------------------------------------------


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


# -- BaseDataLoader --------------------------------------------------------------------------------


def make_dataset(n: int = 10) -> TensorDataset:
    return TensorDataset(torch.arange(float(n)).unsqueeze(1), torch.arange(n))


def draw_targets(loader: Any) -> list[int]:
    return [int(value) for _, target in loader for value in target]


@pytest.mark.parametrize(
    ("n", "split", "size"), [(103, 0.1, 10), (103, 0.25, 25), (50, 7, 7), (1000, 0.2, 200)]
)
def test_the_split_is_numpys_shuffle_with_seed_0(n: int, split: float | int, size: int) -> None:
    original = np.random.get_state()
    np.random.seed(0)
    order = np.arange(n)
    np.random.shuffle(order)
    np.random.seed(1234)
    before = np.random.get_state(legacy=False)

    loader = BaseDataLoader(make_dataset(n), 8, True, split, 0)
    valid = loader.split_validation()

    after = np.random.get_state(legacy=False)
    np.random.set_state(original)
    assert np.array_equal(before["state"]["key"], after["state"]["key"]), (
        "the global generator is unchanged"
    )
    assert before["state"]["pos"] == after["state"]["pos"]
    assert valid is not None
    assert sorted(draw_targets(valid)) == sorted(order[:size])
    assert sorted(draw_targets(loader)) == sorted(order[size:])
    assert valid.sampler.indices.tolist() == order[:size].tolist()
    assert loader.sampler.indices.tolist() == order[size:].tolist()
    assert loader.n_samples == n - size
    assert len(loader.sampler) == n - size
    assert len(valid.sampler) == size


@pytest.mark.parametrize("split", [0.0, 0])
def test_without_a_split_there_is_no_validation_loader(split: float | int) -> None:
    assert BaseDataLoader(make_dataset(), 4, True, split, 0).split_validation() is None


def test_attributes_of_a_loader() -> None:
    dataset = make_dataset()
    loader = BaseDataLoader(dataset, 4, True, 0.2, 0)
    assert isinstance(loader, DataLoader)
    assert loader.batch_size == 4
    assert loader.n_samples == 8
    assert loader.dataset is dataset
    assert len(loader) == 2
    assert len(loader.sampler) == 8
    assert loader.validation_split == 0.2
    valid = loader.split_validation()
    assert valid is not None
    assert (valid.batch_size, valid.dataset, len(valid)) == (4, dataset, 1)
    loader.n_samples = 3
    assert loader.n_samples == 3


def test_valid_sampler_and_init_kwargs_make_a_loader() -> None:
    """Projects override ``split_validation`` in this way."""
    loader = BaseDataLoader(make_dataset(), 4, True, 3, 0)
    assert set(loader.init_kwargs) >= {
        "dataset",
        "batch_size",
        "shuffle",
        "collate_fn",
        "num_workers",
    }
    valid: Any = DataLoader(sampler=loader.valid_sampler, **loader.init_kwargs)
    assert loader.valid_sampler is not None
    assert sorted(draw_targets(valid)) == sorted(loader.valid_sampler.indices)
    loader.valid_sampler = None


def test_a_subclass_in_the_templates_style() -> None:
    """It sets ``self.dataset`` before it calls its parent, and forwards ``**kwargs``."""

    class Loader(BaseDataLoader):
        def __init__(
            self,
            data_dir: str,
            batch_size: int,
            shuffle: bool = True,
            validation_split: float = 0.0,
            num_workers: int = 1,
            training: bool = True,
            **kwargs: Any,
        ) -> None:
            self.data_dir = data_dir
            self.dataset = make_dataset(12 if training else 5)
            super().__init__(
                self.dataset, batch_size, shuffle, validation_split, num_workers, **kwargs
            )

    loader = Loader("data/", 5, num_workers=0, drop_last=True, pin_memory=False, timeout=0)
    assert (len(loader), loader.drop_last, loader.pin_memory) == (2, True, False)
    assert len(draw_targets(loader)) == 10
    assert sorted(
        draw_targets(Loader("data/", 5, shuffle=False, num_workers=0, training=False))
    ) == list(range(5))


def test_shuffling_gives_each_epoch_another_order() -> None:
    loader = BaseDataLoader(make_dataset(), 4, True, 0.0, 0)
    first, second = draw_targets(loader), draw_targets(loader)
    assert first != second
    assert sorted(first) == sorted(second) == list(range(10))
    assert draw_targets(BaseDataLoader(make_dataset(), 4, False, 0.0, 0)) == list(range(10))


def test_collate_fn_is_accepted_by_position() -> None:
    def get_targets(samples: list[Any]) -> list[int]:
        return [int(target) for _, target in samples]

    loader = BaseDataLoader(make_dataset(5), 2, False, 0.0, 0, get_targets)
    assert list(loader) == [[0, 1], [2, 3], [4]]


def test_a_sampler_is_accepted_by_keyword() -> None:
    # 60 samples: with 6, all would be equal once in 32 runs.
    sampler = WeightedRandomSampler([0.0, 1.0, 1.0, 0.0], num_samples=60)
    loader = BaseDataLoader(make_dataset(4), 3, False, 0.0, 0, sampler=sampler)
    assert set(draw_targets(loader)) == {1, 2}
    assert (loader.sampler, len(loader), loader.n_samples) == (sampler, 20, 60)


class Shifted(Dataset[tuple[float, int]]):
    """Each worker sets an attribute of its copy, as datasets do with a file handle."""

    shift = 0

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> tuple[float, int]:
        return float(index), index + self.shift


def shift_in_worker(worker_id: int) -> None:
    info = get_worker_info()
    assert info is not None
    assert len(info.dataset) == 4
    info.dataset.shift = 10 * (worker_id + 1)


def test_worker_init_fn_reaches_the_dataset() -> None:
    """``get_worker_info().dataset`` is the dataset, as torch documents it."""
    loader = BaseDataLoader(
        Shifted(), 2, False, 0.0, 2, worker_init_fn=shift_in_worker, persistent_workers=False
    )
    assert draw_targets(loader) == [10, 11, 22, 23]


# -- BaseModel -------------------------------------------------------------------------------------


class Net(BaseModel):
    def __init__(self, size: int = 1) -> None:
        super().__init__()
        self.linear = nn.Linear(1, size)
        self.frozen = nn.Linear(1, 1).requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x)  # type: ignore[no-any-return]


def test_the_text_of_a_model_shows_its_trainable_parameters() -> None:
    text = str(Net(3))
    assert text.splitlines()[0] == "Net("
    assert "(linear): Linear(in_features=1, out_features=3, bias=True)" in text
    assert text.splitlines()[-1] == "Trainable parameters: 6"
    with pytest.raises(NotImplementedError):
        BaseModel()(torch.zeros(1))


# -- MetricTracker, inf_loop and other helpers -----------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        0.25,
        np.float64(0.25),
        np.float32(0.25),
        np.array(0.25),
        torch.tensor(0.25),
        torch.tensor(0.25, dtype=torch.float64),
        torch.tensor(0.25, dtype=torch.bfloat16),
        torch.tensor(0.25, requires_grad=True),
        torch.tensor([0.25]),
        nn.Parameter(torch.tensor(0.25)) * 1.0,
    ],
    ids=lambda value: f"{type(value).__name__}-{getattr(value, 'dtype', '')}",
)
def test_metric_tracker_takes_any_number(value: Any) -> None:
    tracker = MetricTracker("loss", "accuracy")
    tracker.update("loss", value)
    tracker.update("loss", value * 3, n=3)
    assert tracker.avg("loss") == 0.625
    assert tracker.result() == {"loss": 0.625, "accuracy": 0.0}
    assert type(tracker.result()) is dict
    assert type(tracker.result()["loss"]) is float


@pytest.mark.parametrize(
    "value", [3, np.int64(3), True, np.bool_(True), torch.tensor(3), torch.tensor(True)]
)
def test_metric_tracker_takes_counts(value: Any) -> None:
    tracker = MetricTracker("hits")
    tracker.update("hits", value)
    tracker.update("hits", value)
    assert tracker.avg("hits") == float(value)
    assert type(tracker.result()["hits"]) is float


def test_metric_tracker_keeps_no_graph_and_sums_in_full_precision() -> None:
    weight = nn.Parameter(torch.tensor(2.0))
    tracker = MetricTracker("loss", "half")
    tracker.update("loss", weight * 2)
    tensors = [
        value
        for store in vars(tracker).values()
        if isinstance(store, dict)
        for value in store.values()
    ]
    assert not any(getattr(value, "requires_grad", False) for value in tensors)
    for _ in range(1000):
        tracker.update("half", torch.tensor(0.5, dtype=torch.bfloat16), n=64)
    assert tracker.avg("half") == 0.5, "a sum in bfloat16 stops growing at 256"


def test_metric_tracker_resets_and_writes() -> None:
    class Writer:
        def __init__(self) -> None:
            self.calls: list[tuple[str, Any]] = []

        def add_scalar(self, key: str, value: Any) -> None:
            self.calls.append((key, value))

    writer = Writer()
    tracker = MetricTracker("loss", writer=writer)
    tracker.update("loss", 4.0, n=2)
    tracker.update("loss", 1.0)
    assert writer.calls == [("loss", 4.0), ("loss", 1.0)]
    assert tracker.result() == {"loss": 3.0}
    tracker.reset()
    assert tracker.result() == {"loss": 0.0}
    assert list(MetricTracker("b", "a").result()) == ["b", "a"]


def test_metric_tracker_names_a_metric_that_is_not_a_number() -> None:
    tracker = MetricTracker("recall")

    def measure() -> None:
        tracker.update("recall", np.array([0.5, 1.0]))
        tracker.result()

    with pytest.raises(UserError, match="recall"):
        measure()


def test_inf_loop() -> None:
    loader = BaseDataLoader(make_dataset(5), 2, True, 0.0, 0)
    endless = inf_loop(loader)
    assert iter(endless) is iter(endless)
    assert not hasattr(endless, "n_samples"), "so that _progress counts batches"
    rounds = [sorted(draw_targets([next(endless) for _ in range(3)])) for _ in range(4)]
    assert rounds == [list(range(5))] * 4
    seen = []
    for index, _ in enumerate(endless):
        seen.append(index)
        if index == 6:
            break
    assert len(seen) == 7
    assert [value for value, _ in zip(inf_loop([1, 2]), range(5), strict=False)] == [1, 2, 1, 2, 1]


def test_prepare_device() -> None:
    assert prepare_device(0) == (CPU, [])
    assert prepare_device(0)[1] is not prepare_device(0)[1], "the caller may change the list"


@pytest.mark.skipif(torch.accelerator.is_available(), reason="needs a machine without accelerators")
def test_prepare_device_without_accelerator(caplog: pytest.LogCaptureFixture) -> None:
    assert prepare_device(1) == (CPU, [])
    assert prepare_device(97) == (CPU, [])  # warns once for each number; no other test takes 97
    assert "97" in caplog.text


def test_ensure_dir_write_json_and_read_json(tmp_path: Path) -> None:
    ensure_dir(tmp_path / "a" / "b")
    ensure_dir(str(tmp_path / "a" / "b"))
    content = {"z": 1, "a": {"y": [1, 2.5, None], "b": "ö"}}
    write_json(content, str(tmp_path / "a" / "b" / "c.json"))
    read = read_json(tmp_path / "a" / "b" / "c.json")
    assert read == content
    assert list(read) == ["z", "a"]
    assert '\n    "a": {' in (tmp_path / "a" / "b" / "c.json").read_text()


# -- logging and TensorBoard -----------------------------------------------------------------------


def test_setup_logging_reads_a_projects_settings(tmp_path: Path) -> None:
    """A ``logger_config.json`` as in the template. Its files are written to the run's folder."""
    handler = {
        "class": "logging.handlers.RotatingFileHandler",
        "level": "INFO",
        "filename": "project.log",
    }
    settings = {
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {"file": handler},
        "root": {"level": "INFO", "handlers": ["file"]},
    }
    write_json(settings, tmp_path / "settings.json")
    setup_logging(tmp_path / "run", log_config=tmp_path / "settings.json")
    logging.getLogger("contract").warning("heard")
    assert (tmp_path / "run" / "project.log").read_text() == "heard\n"


def test_setup_logging(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    setup_logging(tmp_path)
    logging.getLogger("contract").info("%d words", 2)
    assert capsys.readouterr().out == "2 words\n"
    assert (tmp_path / "info.log").read_text().endswith("contract INFO 2 words\n")


@pytest.fixture
def logger() -> logging.Logger:
    return logging.getLogger("contract")


def read_events(folder: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(
        str(folder), size_guidance={"images": 0, "scalars": 0, "histograms": 0, "tensors": 0}
    )
    events.Reload()
    return events


def test_scalars_are_written_with_step_and_mode(tmp_path: Path, logger: logging.Logger) -> None:
    writer = TensorboardWriter(tmp_path, logger, True)
    for step in range(3):
        writer.set_step(step)
        writer.add_scalar("loss", 1.0 / (step + 1))
        writer.add_scalar("grad", (nn.Parameter(torch.tensor(2.0)) * step))
    writer.set_step(7, "valid")
    writer.add_scalar("loss", np.float32(0.5))
    writer.add_scalars("both", {"a": 1.0, "b": 2.0})
    assert (writer.step, writer.mode) == (7, "valid")
    writer.close()
    events = read_events(tmp_path)
    assert set(events.Tags()["scalars"]) == {
        "loss/train",
        "grad/train",
        "loss/valid",
        "steps_per_sec/train",
    }
    assert [(event.step, event.value) for event in events.Scalars("loss/train")] == [
        (0, 1.0),
        (1, 0.5),
        (2, pytest.approx(1 / 3)),
    ]
    assert [(event.step, event.value) for event in events.Scalars("loss/valid")] == [(7, 0.5)]
    assert [event.step for event in events.Scalars("steps_per_sec/train")] == [1, 2]
    assert read_events(tmp_path / "both_valid_a").Scalars("both/valid")[0].value == 1.0


def test_the_writer_supports_other_kinds_of_data(tmp_path: Path, logger: logging.Logger) -> None:
    writer = TensorboardWriter(str(tmp_path), logger, True)
    writer.set_step(5, "valid")
    writer.add_image("input", torch.rand(3, 4, 4))
    writer.add_images("grid", torch.rand(2, 3, 4, 4))
    for name, parameter in Net(3).named_parameters():
        writer.add_histogram(name, parameter, bins="auto")
    writer.add_text("note", "words")
    writer.add_audio("sound", torch.zeros(1, 100), sample_rate=8000)
    writer.add_pr_curve("pr", np.array([0, 1, 1]), np.array([0.1, 0.8, 0.6]))
    writer.add_embedding("points", torch.rand(4, 2))
    writer.add_hparams({"lr": 0.1}, {"best": 1.0})
    writer.add_graph(nn.Linear(1, 1), torch.zeros(1, 1))
    writer.flush()
    writer.close()
    assert writer.enabled, "no call failed"
    tags = read_events(tmp_path).Tags()
    assert set(tags["images"]) == {"input/valid", "grid/valid"}
    assert set(tags["histograms"]) == {
        "linear.weight",
        "linear.bias",
        "frozen.weight",
        "frozen.bias",
    }
    assert {"note/valid/text_summary", "pr/valid"} <= set(tags["tensors"])
    assert tags["audio"] == ["sound/valid"]
    assert tags["graph"] is True
    assert read_events(tmp_path).Histograms("linear.weight")[0].step == 5
    assert (tmp_path / "projector_config.pbtxt").is_file()


def test_figures_are_written_with_step_and_mode(
    tmp_path: Path, logger: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """matplotlib need not be installed for this test."""
    seen: list[Any] = []

    def add_figure(self: Any, *args: Any, **kwargs: Any) -> None:
        seen.append((args, kwargs))

    monkeypatch.setattr("torch.utils.tensorboard.SummaryWriter.add_figure", add_figure)
    writer, figure = TensorboardWriter(tmp_path, logger, True), object()
    writer.set_step(4, "valid")
    writer.add_figure("curve", figure, close=True)
    writer.close()
    assert seen == [(("curve/valid", figure, 4), {"close": True})]


def test_a_disabled_writer_does_nothing(tmp_path: Path, logger: logging.Logger) -> None:
    writer = TensorboardWriter(tmp_path / "log", logger, False)
    writer.set_step(3)
    writer.add_scalar("loss", 1.0)
    writer.add_histogram("weight", torch.zeros(3), bins="auto")
    writer.add_image("input", torch.zeros(1, 2, 2))
    writer.close()
    assert not (tmp_path / "log").exists()
    with pytest.raises(AttributeError):
        _ = writer.add_scaler  # type: ignore[attr-defined]


# -- BaseTrainer and Trainer -----------------------------------------------------------------------


class HandTrainer(BaseTrainer):
    """Trains one step on five numbers in each epoch."""

    def _train_epoch(self, epoch: int) -> dict[str, Any]:
        self.optimizer.zero_grad()
        loss = self.criterion(self.model(torch.ones(5, 1)), torch.zeros(5, 3))
        loss.backward()
        self.optimizer.step()
        return {"loss": loss.item(), "epoch_seen": epoch}


def mse(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return (output - target).square().mean()


def make_trainer(
    tmp_path: Path,
    kind: type[BaseTrainer] = HandTrainer,
    resume: Path | None = None,
    **trainer: Any,
) -> Any:
    """Makes a trainer as projects do, with exactly five arguments."""
    config = ConfigParser(
        make_config(tmp_path, **trainer), resume=resume, run_id=None if resume else "run"
    )
    torch.manual_seed(0)
    model = Net(3)
    optimizer = config.init_obj(
        "optimizer", torch.optim, [p for p in model.parameters() if p.requires_grad]
    )
    return kind(model, mse, [], optimizer, config)


ATTRIBUTES = [
    "config",
    "logger",
    "model",
    "criterion",
    "metric_ftns",
    "optimizer",
    "device",
    "epochs",
    "save_period",
]
ATTRIBUTES += [
    "monitor",
    "mnt_mode",
    "mnt_metric",
    "mnt_best",
    "early_stop",
    "start_epoch",
    "checkpoint_dir",
    "writer",
]


def test_a_trainer_has_the_templates_attributes(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, monitor="min val_loss", early_stop=3, epochs=4, save_period=2)
    assert set(ATTRIBUTES) <= vars(trainer).keys()
    assert (trainer.epochs, trainer.save_period, trainer.start_epoch, trainer.early_stop) == (
        4,
        2,
        1,
        3,
    )
    assert (trainer.monitor, trainer.mnt_mode, trainer.mnt_metric) == (
        "min val_loss",
        "min",
        "val_loss",
    )
    assert trainer.mnt_best == math.inf
    assert trainer.device == CPU
    assert trainer.checkpoint_dir == tmp_path / "hand" / "run"
    assert trainer.criterion is mse
    assert isinstance(trainer.writer, TensorboardWriter)
    off = make_trainer(tmp_path)
    assert (off.monitor, off.mnt_mode, off.mnt_best, off.early_stop) == ("off", "off", 0, math.inf)
    assert make_trainer(tmp_path, monitor="max val_accuracy").mnt_best == -math.inf


@pytest.mark.parametrize("name", [*ATTRIBUTES, "step", "options", "update", "not_improved_count"])
def test_attributes_of_a_trainer_can_be_set(tmp_path: Path, name: str) -> None:
    trainer, value = make_trainer(tmp_path), object()
    setattr(trainer, name, value)
    assert getattr(trainer, name) is value


@pytest.mark.parametrize("name", ["step", "options", "update", "evaluate", "forward", "batches"])
def test_attributes_of_a_project_do_not_disturb_the_framework(tmp_path: Path, name: str) -> None:
    """A project may give its attributes names that the framework uses too."""
    trainer = make_trainer(tmp_path, epochs=1)
    setattr(trainer, name, {"mine": True})
    trainer.train()
    assert (tmp_path / "hand" / "run" / "checkpoint-epoch1.pt").is_file()
    assert getattr(trainer, name) == {"mine": True}


def test_base_trainer_moves_the_model_to_the_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Projects from before ``device`` was a parameter of trainers rely on this."""
    monkeypatch.setattr("base.base_trainer.prepare_device", lambda n: (torch.device("meta"), []))
    trainer = make_trainer(tmp_path)
    assert trainer.device == torch.device("meta")
    assert {p.device.type for p in trainer.model.parameters()} == {"meta"}


def test_a_trainer_saves_and_resumes(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, monitor="min loss")
    trainer.train()
    folder = tmp_path / "hand" / "run"
    state = torch.load(folder / "checkpoint-epoch2.pt", weights_only=True)
    assert {"arch", "epoch", "state_dict", "optimizer", "monitor_best", "config"} <= state.keys()
    assert (state["arch"], state["epoch"]) == ("Net", 2)
    assert state["config"]["optimizer"]["type"] == "SGD"
    again = make_trainer(
        tmp_path, resume=folder / "checkpoint-epoch2.pt", monitor="min loss", epochs=3
    )
    assert again.start_epoch == 3
    assert again.mnt_best == trainer.mnt_best == state["monitor_best"]
    assert torch.equal(again.model.linear.weight, trainer.model.linear.weight)
    assert again.config.resume == folder / "checkpoint-epoch2.pt"
    assert again.checkpoint_dir == folder
    again.train()
    assert torch.load(folder / "checkpoint-epoch3.pt", weights_only=True)["epoch"] == 3


def test_resume_checkpoint_takes_a_path_as_text(tmp_path: Path) -> None:
    """Projects call the method to start from the weights of another run."""
    make_trainer(tmp_path, epochs=1).train()
    path = tmp_path / "hand" / "run" / "checkpoint-epoch1.pt"
    other = make_trainer(tmp_path / "other")
    other._resume_checkpoint(str(path))
    assert other.start_epoch == 2
    assert torch.equal(other.model.linear.weight, torch.load(path)["state_dict"]["linear.weight"])


def test_resuming_twice_is_the_same_as_once(tmp_path: Path) -> None:
    """Some projects resume again after they made further objects."""

    class ResumesAgain(HandTrainer):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            if self.config.resume is not None:
                self._resume_checkpoint(self.config.resume)

    make_trainer(tmp_path, ResumesAgain, epochs=1).train()
    trainer = make_trainer(
        tmp_path, ResumesAgain, resume=tmp_path / "hand" / "run" / "checkpoint-epoch1.pt", epochs=3
    )
    trainer.train()
    assert (
        torch.load(tmp_path / "hand" / "run" / "checkpoint-epoch3.pt", weights_only=True)["epoch"]
        == 3
    )


def test_a_criterion_with_parameters_is_restored(tmp_path: Path) -> None:
    class LearnedLoss(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.tensor(1.0))

        def forward(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
            return (output - target).square().mean() * self.scale

    def make_learned_trainer(resume: Path | None) -> Any:
        config = ConfigParser(
            make_config(tmp_path, epochs=2), resume=resume, run_id=None if resume else "run"
        )
        model, criterion = Net(3), LearnedLoss()
        optimizer = torch.optim.SGD([*model.linear.parameters(), *criterion.parameters()], lr=0.1)
        return HandTrainer(model, criterion, [], optimizer, config)

    trainer = make_learned_trainer(None)
    trainer.train()
    again = make_learned_trainer(tmp_path / "hand" / "run" / "checkpoint-epoch2.pt")
    again.train()
    assert trainer.criterion.scale.item() != 1.0
    assert again.criterion.scale.item() == trainer.criterion.scale.item()


def test_a_project_can_call_save_checkpoint(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, save_period=10)
    trainer._save_checkpoint(3)
    trainer._save_checkpoint(4, save_best=True)
    names = sorted(path.name for path in (tmp_path / "hand" / "run").glob("*.pt"))
    assert names == ["checkpoint-epoch3.pt", "checkpoint-epoch4.pt", "model_best.pt"]
    assert torch.load(tmp_path / "hand" / "run" / "model_best.pt", weights_only=True)["epoch"] == 4


def test_an_overridden_save_checkpoint_is_called(tmp_path: Path) -> None:
    class Saves(HandTrainer):
        def _save_checkpoint(self, epoch: int, save_best: bool = False) -> None:
            vars(self).setdefault("calls", []).append((epoch, save_best))

    trainer = make_trainer(tmp_path, Saves, epochs=4, save_period=2, monitor="min epoch_seen")
    trainer.train()
    assert trainer.calls == [(1, True), (2, False), (4, False)]


def test_an_overridden_resume_checkpoint_is_called(tmp_path: Path) -> None:
    class Resumes(HandTrainer):
        def _resume_checkpoint(self, resume_path: Any) -> None:
            checkpoint = torch.load(str(resume_path))
            self.start_epoch = checkpoint["epoch"] + 1
            self.has_same_arch = checkpoint["config"]["arch"] == self.config["arch"]
            self.model.load_state_dict(checkpoint["state_dict"])
            self.optimizer.load_state_dict(checkpoint["optimizer"])

    make_trainer(tmp_path, epochs=1).train()
    path = tmp_path / "hand" / "run" / "checkpoint-epoch1.pt"
    trainer = make_trainer(tmp_path, Resumes, resume=path, epochs=3)
    assert trainer.has_same_arch
    assert trainer.start_epoch == 2
    trainer.train()
    assert (path.parent / "checkpoint-epoch3.pt").is_file()


@pytest.fixture
def components(tmp_path: Path) -> dict[str, Any]:
    config = ConfigParser(make_config(tmp_path), run_id="run")
    dataset = TensorDataset(torch.ones(10, 1), torch.zeros(10, 3))
    loader = BaseDataLoader(dataset, 4, True, 0.2, 0)
    model = Net(3)
    return {
        "model": model,
        "criterion": mse,
        "metric_ftns": [],
        "optimizer": torch.optim.SGD(model.linear.parameters(), 0.1),
        "config": config,
        "device": CPU,
        "data_loader": loader,
    }


def test_the_shipped_trainer_keeps_the_templates_attributes(components: dict[str, Any]) -> None:
    trainer = Trainer(*components.values())
    assert not trainer.do_validation
    assert trainer.valid_data_loader is None
    assert trainer.lr_scheduler is None
    assert trainer.len_epoch == 2
    assert trainer.log_step == 2
    assert trainer.data_loader is components["data_loader"]
    assert trainer.train_metrics.result() == {"loss": 0.0}
    assert trainer.valid_metrics.result() == {"loss": 0.0}
    assert "[4/8 (50%)]" in trainer._progress(1)
    valid = components["data_loader"].split_validation()
    assert Trainer(*components.values(), valid_data_loader=valid).do_validation
    assert set(Trainer(*components.values(), valid_data_loader=valid)._valid_epoch(1)) == {"loss"}


def test_an_epoch_of_the_shipped_trainer_has_len_epoch_batches(components: dict[str, Any]) -> None:
    """The template trained one batch more. The next epoch continues with the next batch."""
    sizes: list[int] = []

    class CountingTrainer(Trainer):
        def train_step(self, batch: Any) -> Any:
            sizes.append(len(batch[0]))
            return super().train_step(batch)

    trainer = CountingTrainer(*components.values(), len_epoch=3)
    assert trainer.len_epoch == 3
    assert isinstance(trainer.data_loader, inf_loop)
    trainer.train()
    assert len(sizes) == 6
    assert "[1/3 (33%)]" in trainer._progress(1)


def test_criterion_and_metrics_may_be_plain_functions(components: dict[str, Any]) -> None:
    """A metric takes ``(output, target)``, may call ``.item()``, and is logged by its name."""

    def mean_error(output: torch.Tensor, target: torch.Tensor) -> float:
        return (output - target).abs().mean().item()

    components["metric_ftns"] = [mean_error]
    valid = components["data_loader"].split_validation()
    trainer = Trainer(*components.values(), valid_data_loader=valid)
    log = trainer._train_epoch(1)
    assert set(log) == {"loss", "mean_error", "val_loss", "val_mean_error"}
    with torch.no_grad():
        output = trainer.model(torch.ones(2, 1))
    assert log["val_mean_error"] == pytest.approx(output.abs().mean().item(), rel=1e-6)
    assert log["val_loss"] == pytest.approx(output.square().mean().item(), rel=1e-6)
