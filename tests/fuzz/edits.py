"""Valid edits of a config's values; each editor says whether what it made can also be built, without a download."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from random import Random
from typing import Any

import torch

from tests.fuzz.known import Part, kinds, logged, parameters

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


def value_of(annotation: Any, rng: Random) -> Any:
    """A value that fits an annotation of an optimizer's argument."""
    fitting = kinds(annotation) or set()
    if list in fitting:
        return None
    choices = {
        bool: [True, False],
        float: [0.5, 1e-4, 0],
        int: [1, 5],
        str: ["x"],
        type(None): [None],
    }
    return rng.choice(
        [value for kind, values in choices.items() if kind in fitting for value in values]
    )


def is_gan(data: Config) -> bool:
    """Whether the trainer is the one that needs a model, an optimizer and a monitor of its own kind."""
    return data["trainer"].get("type") == "gan.GanTrainer"


def edit_optimizer(data: Config, rng: Random) -> bool:
    name = rng.choice(OPTIMIZERS)
    takes, _ = parameters(Part((), "optimizer", name, getattr(torch.optim, name)))
    few = rng.random() < 0.4
    plain = {
        key: parameter
        for key, parameter in takes.items()
        if list not in (kinds(parameter.annotation) or {list})
    }
    chosen = ["lr"] if few else rng.sample(sorted(plain), rng.randint(1, 3))
    args = {key: value_of(plain[key].annotation, rng) for key in chosen}
    if "betas" in takes and rng.random() < 0.5:
        args["betas"] = [0.8, 0.99]
    data["optimizer"] = {
        "type": name if is_gan(data) else rng.choice([name, f"torch.optim.{name}"]),
        "args": args | {"lr": 0.01},
    }
    return few and name not in ("LBFGS", "Muon", "SparseAdam")


def edit_scheduler(data: Config, rng: Random) -> bool:
    name, args = rng.choice(SCHEDULERS)
    data["lr_scheduler"] = {"type": name, "args": copy.deepcopy(args)}
    if rng.random() < 0.2:
        data["lr_scheduler"] = None
    return True


def fake_dataset(rng: Random, n_transforms: int = 0) -> Config:
    args: Config = {"size": 64, "image_size": [3, 32, 32], "num_classes": 10}
    if n_transforms:
        chosen = copy.deepcopy(rng.sample(TRANSFORMS, n_transforms))
        args["transform"] = (
            {"type": "Compose", "args": {"transforms": chosen}} if n_transforms > 1 else chosen[0]
        )
    return {"type": rng.choice(["FakeData", "torchvision.datasets.FakeData"]), "args": args}


def with_loader(data: Config, node: Config) -> None:
    data["data_loader"] = node
    data.pop("valid_data_loader", None)


def edit_loader(data: Config, rng: Random) -> bool:
    nodes: tuple[Config, ...] = (
        {"type": "DigitsDataLoader", "args": {"batch_size": 128, "validation_split": 100}},
        {
            "type": "breast_cancer.BreastCancerDataLoader",
            "args": {"validation_split": 0.3, "shuffle": False},
        },
        {
            "type": "DatasetLoader",
            "args": {"dataset": fake_dataset(rng), "validation_split": 0.25, "drop_last": True},
        },
        {
            "type": "MnistDataLoader",
            "args": {"data_dir": "data", "batch_size": 8, "validation_split": 0.1},
        },
        {
            "type": "DatasetLoader",
            "args": {
                "dataset": {
                    "type": "ImageFolder",
                    "args": {"root": "images", "transform": {"type": "ToImage"}},
                },
                "eval_transform": {
                    "type": "Compose",
                    "args": {"transforms": [{"type": "ToImage"}]},
                },
                "validation_split": 50,
                "stratify": True,
                "pin_memory": True,
                "prefetch_factor": None,
            },
        },
    )
    place = rng.randrange(len(nodes))
    with_loader(data, nodes[place])
    if rng.random() < 0.3:
        data["test_data_loader"] = {
            "type": "DatasetLoader",
            "args": {"dataset": fake_dataset(rng), "shuffle": False},
        }
    return place < 3


def edit_transforms(data: Config, rng: Random) -> bool:
    dataset = fake_dataset(rng, rng.randint(1, 5))
    with_loader(
        data,
        {
            "type": "DatasetLoader",
            "args": {"dataset": dataset, "batch_size": 8, "validation_split": 0.2},
        },
    )
    return True


def edit_sampler(data: Config, rng: Random) -> bool:
    args: Config = {
        "dataset": fake_dataset(rng),
        "sampler": copy.deepcopy(rng.choice(SAMPLERS)),
        "shuffle": False,
    }
    if rng.random() < 0.5:
        args["collate_fn"] = "torch.utils.data.default_collate"
    with_loader(data, {"type": "DatasetLoader", "args": args})
    kind = rng.choice(["DatasetLoader", "torch.utils.data.DataLoader"])
    data["valid_data_loader"] = {
        "type": kind,
        "args": {"dataset": fake_dataset(rng, 2), "batch_size": 16},
    }
    return False


def edit_metrics(data: Config, rng: Random) -> bool:
    data["metrics"] = copy.deepcopy(rng.sample(METRICS, rng.randint(0, 4)))
    return True


def edit_loss(data: Config, rng: Random) -> bool:
    data["loss"] = copy.deepcopy(rng.choice(LOSSES))
    return True


def edit_arch(data: Config, rng: Random) -> bool:
    gan: Config = {"type": "gan.GAN", "args": {"latent_size": 8, "hidden": 32}}
    data["arch"] = gan if is_gan(data) else copy.deepcopy(rng.choice(ARCHS))
    return True


def choose_monitor(data: Config, rng: Random) -> None:
    if is_gan(data):
        data["trainer"]["monitor"] = "min val_frechet"
        return
    data["trainer"]["monitor"] = f"{rng.choice(['min', 'max'])} {rng.choice(sorted(logged(data)))}"


def edit_trainer(data: Config, rng: Random) -> bool:
    options: Config = {
        "precision": rng.choice(["fp32", "bf16"]),
        "accumulation_steps": 4,
        "grad_clip_norm": rng.choice([None, 1, 0.5]),
        "ema_decay": 0.999,
        "epochs": rng.randint(5, 9),
        "save_period": 2,
        "keep_last": rng.choice([None, 2]),
        "verbosity": rng.choice([0, 1, 2]),
        "warmup_steps": 3,
        "lr_scheduler_interval": rng.choice(["epoch", "step", None]),
        "len_epoch": 10,
        "my_option": [1, {"a": None}],
        "type": "trainer.Trainer",
    }
    chosen = rng.sample(sorted(options), rng.randint(1, 5))
    data["trainer"] |= {
        key: options[key] for key in chosen if key != "type" or "type" not in data["trainer"]
    }
    if rng.random() < 0.7:
        choose_monitor(data, rng)
        data["trainer"]["early_stop"] = rng.choice([3, 2.5, 0, None])
    else:
        data["trainer"] |= {"monitor": "off", "early_stop": rng.choice([0, -1])}
    return True


def edit_remarks(data: Config, rng: Random) -> bool:
    places = [
        data,
        data["trainer"],
        data["arch"],
        data["arch"].setdefault("args", {}),
        data["optimizer"]["args"],
    ]
    rng.choice(places)[rng.choice(["__comment", "__comment_2"])] = rng.choice(
        ["why: so", ["a", "b"], {"type": "x"}]
    )
    data[rng.choice(["wandb_project", "optimizer_D", "notes", "arch2"])] = rng.choice(
        [1, "x", {"type": "y"}, []]
    )
    return True


def edit_plain(data: Config, rng: Random) -> bool:
    plain = {
        "name": "run-2.b_c",
        "seed": 0,
        "n_gpu": rng.choice([0, 2]),
        "description": "on: yes, ünï # no comment",
    }
    data |= {key: plain[key] for key in rng.sample(sorted(plain), 2)}
    return True


def edit_references(data: Config, rng: Random) -> bool:
    data["my_values"] = {"lr": 0.02, "epochs": 6, "folder": "my/data"}
    data["optimizer"].setdefault("args", {})["lr"] = "${my_values.lr}"
    data["trainer"]["epochs"] = "${my_values.epochs}"
    data["my_loss"] = data["loss"]
    data["loss"] = "${my_loss}"
    data["description"] = "${name} for ${trainer.epochs} epochs, in ${my_values.folder}"
    return True


EDITORS: tuple[Callable[[Config, Random], bool], ...] = (
    edit_optimizer,
    edit_scheduler,
    edit_loader,
    edit_transforms,
    edit_sampler,
    edit_metrics,
    edit_loss,
    edit_arch,
    edit_trainer,
    edit_remarks,
    edit_plain,
    edit_references,
)


def edited(data: Config, rng: Random) -> tuple[Config, bool]:
    """A copy of ``data`` after a few edits that still fit together, and whether it can be built."""
    data = copy.deepcopy(data)
    made = [editor(data, rng) for editor in rng.sample(EDITORS, rng.randint(1, 4))]
    trainer = data["trainer"]
    _, _, metric = trainer.get("monitor", "off").partition(" ")
    gone = metric not in logged(data) if metric else "Plateau" in str(data.get("lr_scheduler"))
    if gone or (not metric and (trainer.get("early_stop") or 0) > 0):
        choose_monitor(data, rng)
    if "Plateau" in str(data.get("lr_scheduler")):  # moves after an epoch only
        trainer.pop("lr_scheduler_interval", None)
    return data, all(made)
