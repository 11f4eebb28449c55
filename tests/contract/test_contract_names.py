"""Names and signatures are pytorch-template's."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from typing import Any

import pytest

from base import BaseDataLoader, BaseTrainer
from config import ConfigParser
from logger import TensorboardWriter, setup_logging
from trainer import Trainer
from utils import MetricTracker, ensure_dir, inf_loop, prepare_device, read_json, write_json


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
