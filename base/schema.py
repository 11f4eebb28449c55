"""SCHEMA: the sections of a config. train.py, test.py and ``python -m config`` check configs."""

from __future__ import annotations

from base.features import of_kind
from base.loop.phases import Phases
from base.options import TrainerOptions
from config.check.schema import Schema
from config.check.slots import Slot

_MODULE = "torch.nn.Module"
_LOADERS = "data_loader.data_loaders"
_SCHEDULERS = "torch.optim.lr_scheduler"
_TRAINER_ARGUMENTS = (
    *("model", "criterion", "metric_ftns", "optimizer"),  # passed by position
    *("config", "device", "data_loader", "valid_data_loader", "lr_scheduler"),
)
_OUTPUT_AND_TARGET = ("output", "target")

_LOADER = Slot("data_loader", (_LOADERS, "base"), "torch.utils.data.DataLoader", is_duck_typed=True)
_SLOTS = {
    "arch": Slot("model", ("model.model", "torchvision.models"), _MODULE),
    "data_loader": _LOADER,
    "valid_data_loader": _LOADER,
    "test_data_loader": _LOADER,
    "loss": Slot(
        "model",
        ("model.loss", "torch.nn.functional", "torch.nn"),
        _MODULE,
        open_modules=("torch.nn.functional",),
        program_parameters=_OUTPUT_AND_TARGET,
        is_callback=True,
        list_keys=("name", "weight"),
    ),
    "metrics": Slot(
        "model",
        ("model.metric", "torchmetrics"),
        "torchmetrics.Metric",
        open_modules=("torchmetrics.functional", "torchmetrics.collections"),
        program_parameters=_OUTPUT_AND_TARGET,
        is_callback=True,
        list_keys=("name",),
    ),
    "optimizer": Slot(
        "trainer", ("torch.optim",), "torch.optim.Optimizer", program_parameters=("params",)
    ),
    "lr_scheduler": Slot(
        "trainer", (_SCHEDULERS,), f"{_SCHEDULERS}.LRScheduler", program_parameters=("optimizer",)
    ),
    "parallel": Slot("trainer", ("base.parallel.kinds",), "base.parallel.strategy.Parallel"),
    "trainer": Slot(
        "trainer",
        ("trainer", "trainer.trainer"),
        "base.BaseTrainer",
        program_parameters=_TRAINER_ARGUMENTS,
        is_flat=True,
    ),
}

_DATASET = Slot(
    "data_loader",
    (_LOADERS, "torchvision.datasets"),
    "torch.utils.data.Dataset",
    is_duck_typed=True,
)
_TRANSFORM = Slot(
    "data_loader",
    (_LOADERS, "torchvision.transforms.v2"),
    _MODULE,
    open_modules=("torchvision.transforms",),
    is_duck_typed=True,
)
_BATCH_TRANSFORM = _TRANSFORM._replace(homes=(*_TRANSFORM.homes, "base.data.batch_transforms"))
_INNER_METRIC = Slot(
    "model", ("model.metric", "torchmetrics"), "torchmetrics.Metric", is_component=False
)
_INNER_SLOTS = {
    "batch_transform": _BATCH_TRANSFORM,
    "metric": _INNER_METRIC,  # of wrappers
    "metrics": _INNER_METRIC,  # of a MetricCollection
    "dataset": _DATASET,
    "datasets": _DATASET,
    "transform": _TRANSFORM,
    "transforms": _BATCH_TRANSFORM,  # the parameter of Compose, for samples and for batches
    "sampler": Slot(
        "data_loader",
        (_LOADERS, "torch.utils.data", "base.data.buckets"),
        "torch.utils.data.Sampler",
        dataset_parameters=("data_source", "dataset"),
        is_duck_typed=True,
    ),
    "collate_fn": Slot(
        "data_loader",
        (_LOADERS, "base.data.padding"),
        "",
        open_modules=("torch.utils.data._utils.collate", "base.data.padding"),
        program_parameters=("batch",),
        is_callback=True,
        is_duck_typed=True,
    ),
}

_NESTED_SLOTS = {"model": Slot("model", ("model.model", "torch.nn", "torchvision.models"), _MODULE)}

SCHEMA = Schema(
    slots=_SLOTS,
    inner_slots=_INNER_SLOTS,
    nested_slots=_NESTED_SLOTS,
    sections={"trainer": TrainerOptions}
    | {kind.section: kind.options_type for kind in of_kind(Phases)},
)
