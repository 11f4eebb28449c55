"""SCHEMA: the sections of a config. train.py, test.py and ``python -m config`` check configs."""

from __future__ import annotations

from base.features import of_kind
from base.options import TrainerOptions
from config.check.schema import Schema
from config.check.slots import Slot
from utils.options import SectionFeature

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
    "valid_data_loader": _LOADER._replace(takes_sets=True),
    "test_data_loader": _LOADER._replace(takes_sets=True),
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
        list_keys=("name", "on"),
    ),
    "optimizer": Slot(
        "trainer",
        ("torch.optim",),
        "torch.optim.Optimizer",
        program_parameters=("params",),
        list_keys=("params",),
    ),
    "lr_scheduler": Slot(
        "trainer",
        ("base.loop.nested_schedulers", _SCHEDULERS),
        f"{_SCHEDULERS}.LRScheduler",
        program_parameters=("optimizer",),
        filled_parameters=("T_max", "total_steps", "total_iters", "num_training_steps"),
        nests="lr_scheduler",
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
_TARGET_TRANSFORM = _TRANSFORM._replace(
    homes=(_LOADERS, "base.data.target_transforms", "sklearn.preprocessing", *_TRANSFORM.homes[1:]),
    open_modules=(*_TRANSFORM.open_modules, "base.data.target_transforms", "sklearn.preprocessing"),
)
_INNER_METRIC = Slot(
    "model", ("model.metric", "torchmetrics"), "torchmetrics.Metric", is_component=False
)
_INNER_SLOTS = {
    "batch_transform": _BATCH_TRANSFORM,
    "target_transform": _TARGET_TRANSFORM,
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
        (_LOADERS, "base.data.padding", "base.data.lists"),
        "",
        open_modules=("torch.utils.data._utils.collate", "base.data.padding", "base.data.lists"),
        program_parameters=("batch",),
        is_callback=True,
        is_duck_typed=True,
    ),
}

_STEP_FUNCTION = Slot(
    "trainer",
    ("trainer.trainer",),
    "",
    program_parameters=("step",),
    is_callback=True,
    is_duck_typed=True,
)
_INNER_SLOTS |= {"lr_lambda": _STEP_FUNCTION, "scale_fn": _STEP_FUNCTION}  # of schedulers

_NESTED_SLOTS = {"model": Slot("model", ("model.model", "torch.nn", "torchvision.models"), _MODULE)}

_MEANINGS = {
    "name": "Names the folder of the runs.",
    "description": "What the experiment is, for people.",
    "seed": "Of all random numbers; 123 by default.",
    "n_gpu": "The number of accelerators; 0 is the CPU.",
    "task": "What the loss does not show: classification, multilabel, regression, segmentation.",
    "extends": "Configs to start from.",
    "arch": "The model.",
    "data_loader": "The training data.",
    "valid_data_loader": "The validation data, instead of a validation_split.",
    "test_data_loader": "The data of test.py.",
    "loss": "One loss, or a list of terms with weights; without it, the model computes its loss.",
    "metrics": "What is logged beside the loss; a list.",
    "optimizer": "It gets the parameters from the program.",
    "lr_scheduler": "Changes the learning rate.",
    "parallel": "How several processes share the work.",
    "trainer": "The options of the training, and the arguments of its loop.",
    "transfer": "Start weights, a new head, freezing and thawing.",
    "search": "Tries values of this config in many runs, and finds the best ones.",
    "repeat": "The same config with several seeds, on several folds, or both.",
}

SCHEMA = Schema(
    slots=_SLOTS,
    inner_slots=_INNER_SLOTS,
    nested_slots=_NESTED_SLOTS,
    sections={"trainer": TrainerOptions}
    | {kind.section: kind.options_type for kind in of_kind(SectionFeature)},
    section_slots={
        f"{kind.section}.{option}": slot
        for kind in of_kind(SectionFeature)
        for option, slot in kind.slots.items()
    },
    meanings=_MEANINGS,
)
