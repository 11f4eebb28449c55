"""Valid values for the sections of a config, from which the valid edits choose."""

from __future__ import annotations

import inspect
from typing import Any

import torch

Config = dict[str, Any]

OPTIMIZERS = [
    name
    for name, found in vars(torch.optim).items()
    if inspect.isclass(found) and issubclass(found, torch.optim.Optimizer) and name != "Optimizer"
]
SCHEDULERS: tuple[tuple[str, Config], ...] = (
    ("StepLR", {"step_size": 5, "gamma": 0.5}),
    ("MultiStepLR", {"milestones": [3, 6]}),
    ("ConstantLR", {"factor": 0.5, "total_iters": 4}),
    ("LinearLR", {"start_factor": 0.1, "end_factor": 1}),
    ("ExponentialLR", {"gamma": 0.95}),
    ("PolynomialLR", {"total_iters": 8, "power": 2}),
    ("CosineAnnealingLR", {"T_max": "${trainer.epochs}", "eta_min": 1e-5}),
    ("CosineAnnealingWarmRestarts", {"T_0": 4, "T_mult": 2}),
    (
        "OneCycleLR",
        {"max_lr": 0.1, "total_steps": 200, "anneal_strategy": "linear", "cycle_momentum": False},
    ),
    ("CyclicLR", {"base_lr": 1e-3, "max_lr": [0.1], "step_size_up": 20, "cycle_momentum": False}),
    ("torch.optim.lr_scheduler.ReduceLROnPlateau", {"mode": "min", "min_lr": [1e-6]}),
    ("ReduceLROnPlateau", {"mode": "max", "factor": 0.3, "threshold_mode": "abs", "cooldown": 1}),
)
LOSSES: tuple[Any, ...] = (
    "cross_entropy",
    "nll_loss",
    "mse_loss",
    "torch.nn.functional.smooth_l1_loss",
    {"type": "cross_entropy", "args": {"label_smoothing": 0.1, "reduction": "mean"}},
    {"type": "CrossEntropyLoss", "args": {"label_smoothing": 0.1, "ignore_index": -1}},
    {"type": "torch.nn.HuberLoss", "args": {"delta": 0.5}},
    {"type": "SmoothL1Loss", "args": {"beta": 2}},
    {"type": "BCEWithLogitsLoss"},
    "MultiMarginLoss",
)
METRICS: tuple[Any, ...] = (
    "accuracy",
    "metric.binary_accuracy",
    {"type": "top_k_acc", "args": {"k": 5}, "name": "top5"},
    {"type": "top_k_acc", "args": {"k": 2}, "name": "top-2"},
    {"type": "Accuracy", "args": {"task": "multiclass", "num_classes": 10}},
    {
        "type": "F1Score",
        "args": {"task": "multiclass", "num_classes": 10, "average": "macro"},
        "name": "f1",
    },
    {"type": "torchmetrics.CohenKappa", "args": {"task": "multiclass", "num_classes": 10}},
    {
        "type": "torchmetrics.classification.MulticlassAccuracy",
        "args": {"num_classes": 10, "top_k": 2},
    },
    {"type": "AUROC", "args": {"task": "binary", "max_fpr": 0.5}, "name": "auroc"},
    {"type": "MeanSquaredError", "args": {"squared": False}, "name": "rmse"},
)
TRANSFORMS: tuple[Config, ...] = (
    {"type": "RandomCrop", "args": {"size": 24, "padding": [2, 2]}},
    {"type": "RandomCrop", "args": {"size": [24, 24], "padding_mode": "reflect"}},
    {"type": "RandomHorizontalFlip"},
    {"type": "RandomRotation", "args": {"degrees": 10}},
    {"type": "ColorJitter", "args": {"brightness": 0.2, "contrast": [0.8, 1.2]}},
    {"type": "RandAugment", "args": {"num_ops": 2, "magnitude": 5}},
    {
        "type": "RandomApply",
        "args": {"transforms": [{"type": "Grayscale", "args": {"num_output_channels": 3}}]},
    },
    {"type": "ToImage", "args": {}},
    {"type": "torchvision.transforms.ToTensor"},
    {"type": "ToDtype", "args": {"dtype": "torch.float32", "scale": True}},
    {"type": "Normalize", "args": {"mean": [0.5, 0.5, 0.5], "std": [1, 1, 1], "inplace": True}},
    {"type": "RandomErasing", "args": {"p": 0.1, "scale": [0.02, 0.2]}},
)
SAMPLERS: tuple[Config, ...] = (
    {"type": "RandomSampler", "args": {"replacement": True, "num_samples": 32}},
    {"type": "SequentialSampler"},
    {"type": "torch.utils.data.SubsetRandomSampler", "args": {"indices": [0, 1, 2, 3]}},
    {"type": "WeightedRandomSampler", "args": {"weights": [0.5, 1, 2], "num_samples": 3}},
)
ARCHS: tuple[Config, ...] = (
    {"type": "SmallConvNet", "args": {"width": 8, "dropout": 0}},
    {"type": "model.model.MnistModel"},
    {"type": "lenet.LeNet", "args": {"num_classes": 7}},
    {"type": "mlp.MLP", "args": {"in_features": 64, "hidden": [32, 8], "dropout": 0.1}},
    {"type": "resnet.ResNet", "args": {"blocks": 1, "width": 8}},
    {"type": "resnet18", "args": {"num_classes": 10}},
    {"type": "torchvision.models.mobilenet_v3_small", "args": {"num_classes": 10, "dropout": 0.1}},
)
