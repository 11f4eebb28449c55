"""Valid edits of a config's values.

Each editor changes a config, and returns whether the result can also be built without a download.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from random import Random
from typing import Any

import torch

from tests.fuzz.components import Component, get_fitting_types, get_logged_names, get_parameters
from tests.fuzz.valid_values import (
    ARCHS,
    LOSSES,
    METRICS,
    OPTIMIZERS,
    SAMPLERS,
    SCHEDULERS,
    TRANSFORMS,
    Config,
)


def choose_value(annotation: Any, rng: Random) -> Any:
    """Returns a value that fits the annotation of an optimizer's argument."""
    fitting = get_fitting_types(annotation) or set()
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
    """Returns whether the trainer is the GAN's, with a model and a monitor of its own kind."""
    return data["trainer"].get("type") == "gan.GanTrainer"


def edit_optimizer(data: Config, rng: Random) -> bool:
    name = rng.choice(OPTIMIZERS)
    known, _ = get_parameters(Component((), "optimizer", name, getattr(torch.optim, name)))
    has_lr_only = rng.random() < 0.4
    scalars = {
        key: parameter
        for key, parameter in known.items()
        if list not in (get_fitting_types(parameter.annotation) or {list})
    }
    chosen = ["lr"] if has_lr_only else rng.sample(sorted(scalars), rng.randint(1, 3))
    args = {key: choose_value(scalars[key].annotation, rng) for key in chosen}
    if "betas" in known and rng.random() < 0.5:
        args["betas"] = [0.8, 0.99]
    data["optimizer"] = {
        "type": name if is_gan(data) else rng.choice([name, f"torch.optim.{name}"]),
        "args": args | {"lr": 0.01},
    }
    return has_lr_only and name not in ("LBFGS", "Muon", "SparseAdam")


def edit_scheduler(data: Config, rng: Random) -> bool:
    name, args = rng.choice(SCHEDULERS)
    data["lr_scheduler"] = {"type": name, "args": copy.deepcopy(args)}
    if rng.random() < 0.2:
        data["lr_scheduler"] = None
    return True


def make_fake_dataset(rng: Random, num_transforms: int = 0) -> Config:
    args: Config = {"size": 64, "image_size": [3, 32, 32], "num_classes": 10}
    if num_transforms:
        chosen = copy.deepcopy(rng.sample(TRANSFORMS, num_transforms))
        args["transform"] = (
            {"type": "Compose", "args": {"transforms": chosen}} if num_transforms > 1 else chosen[0]
        )
    return {"type": rng.choice(["FakeData", "torchvision.datasets.FakeData"]), "args": args}


def set_loader(data: Config, node: Config) -> None:
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
            "args": {
                "dataset": make_fake_dataset(rng),
                "validation_split": 0.25,
                "drop_last": True,
            },
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
    index = rng.randrange(len(nodes))
    set_loader(data, nodes[index])
    if rng.random() < 0.3:
        data["test_data_loader"] = {
            "type": "DatasetLoader",
            "args": {"dataset": make_fake_dataset(rng), "shuffle": False},
        }
    return index < 3  # the others read files


def edit_transforms(data: Config, rng: Random) -> bool:
    dataset = make_fake_dataset(rng, rng.randint(1, 5))
    args = {"dataset": dataset, "batch_size": 8, "validation_split": 0.2}
    set_loader(data, {"type": "DatasetLoader", "args": args})
    return True


def edit_sampler(data: Config, rng: Random) -> bool:
    args: Config = {
        "dataset": make_fake_dataset(rng),
        "sampler": copy.deepcopy(rng.choice(SAMPLERS)),
        "shuffle": False,
    }
    if rng.random() < 0.5:
        args["collate_fn"] = "torch.utils.data.default_collate"
    set_loader(data, {"type": "DatasetLoader", "args": args})
    kind = rng.choice(["DatasetLoader", "torch.utils.data.DataLoader"])
    data["valid_data_loader"] = {
        "type": kind,
        "args": {"dataset": make_fake_dataset(rng, 2), "batch_size": 16},
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
    data["trainer"]["monitor"] = (
        f"{rng.choice(['min', 'max'])} {rng.choice(sorted(get_logged_names(data)))}"
    )


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
        "type": "trainer.Trainer",
    }
    chosen = rng.sample(sorted(options), rng.randint(1, 5))
    data["trainer"] |= {
        key: options[key] for key in chosen if key != "type" or "type" not in data["trainer"]
    }
    if "warmup_steps" in chosen:
        data["trainer"].pop("warmup", None)
    if rng.random() < 0.7:
        choose_monitor(data, rng)
        data["trainer"]["early_stop"] = rng.choice([3, 2.5, 0, None])
    else:
        data["trainer"] |= {"monitor": "off", "early_stop": rng.choice([0, -1])}
    return True


def edit_free_keys(data: Config, rng: Random) -> bool:
    sections = [
        data,
        data["trainer"],
        data["arch"],
        data["arch"].setdefault("args", {}),
        data["optimizer"]["args"],
    ]
    rng.choice(sections)[rng.choice(["__comment", "__comment_2"])] = rng.choice(
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
    if "loss" in data:
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
    edit_free_keys,
    edit_plain,
    edit_references,
)


def make_edited(data: Config, rng: Random) -> tuple[Config, bool]:
    """Returns a copy of ``data`` after a few edits that fit together, and whether it can be built.

    The monitor is chosen anew where the edits removed its metric, or need a metric to monitor.
    """
    data = copy.deepcopy(data)
    are_buildable = [editor(data, rng) for editor in rng.sample(EDITORS, rng.randint(1, 4))]
    trainer = data["trainer"]
    is_plateau = "Plateau" in str(data.get("lr_scheduler"))
    _, _, metric = trainer.get("monitor", "off").partition(" ")
    if metric:
        needs_monitor = metric not in get_logged_names(data)
    else:
        needs_monitor = is_plateau or (trainer.get("early_stop") or 0) > 0
    if needs_monitor:
        choose_monitor(data, rng)
    if is_plateau:  # it steps after epochs only, and takes its direction from the monitor
        trainer.pop("lr_scheduler_interval", None)
        (data["lr_scheduler"].get("args") or {}).pop("mode", None)
    needs_run = "teacher" in trainer or "init_from" in data.get("transfer", {})
    return data, all(are_buildable) and not needs_run
