"""The components of the shipped configs, and what the signatures of their classes allow.

The product's own checker is not asked, as it is what the fuzz tests test.
"""

from __future__ import annotations

import copy
import importlib
import inspect
import types
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

import torch

from base.options import TrainerOptions
from config.read.source import read_tree
from tests.fuzz.render import Keys
from tests.helpers import ROOT

# For each slot: the folder of the project whose files a name may start with, the modules where a
# bare name is looked for, and how many parameters the program gives.
LOADERS = "data_loader.data_loaders"
SLOTS: dict[str, tuple[str, tuple[str, ...], int]] = {
    "arch": ("model", ("model.model", "torchvision.models"), 0),
    "data_loader": ("data_loader", (LOADERS, "base"), 0),
    "valid_data_loader": ("data_loader", (LOADERS, "base"), 0),
    "test_data_loader": ("data_loader", (LOADERS, "base"), 0),
    "optimizer": ("trainer", ("torch.optim",), 1),
    "lr_scheduler": ("trainer", ("torch.optim.lr_scheduler",), 1),
    "loss": ("model", ("model.loss", "torch.nn.functional", "torch.nn"), 2),
    "metrics": ("model", ("model.metric", "torchmetrics"), 2),
    "trainer": ("trainer", ("trainer", "trainer.trainer"), 0),
    "dataset": ("data_loader", (LOADERS, "torchvision.datasets"), 0),
    "target_transform": (
        "data_loader",
        (LOADERS, "base.data.target_transforms", "sklearn.preprocessing"),
        0,
    ),
    "transform": ("data_loader", (LOADERS, "torchvision.transforms.v2"), 0),
    "transforms": ("data_loader", (LOADERS, "torchvision.transforms.v2"), 0),
}
SECTIONS = (
    "arch",
    "data_loader",
    "valid_data_loader",
    "test_data_loader",
    "optimizer",
    "lr_scheduler",
    "loss",
)
REQUIRED = ("name", "arch", "data_loader", "optimizer", "trainer")
PLAIN = {"name": str, "description": str, "seed": int, "n_gpu": int}
TOP = (*PLAIN, *SECTIONS, "metrics", "trainer", "extends")

# Laid over the first shipped config, with options and components that no shipped one uses.
RICH = {
    "name": "rich",
    "my_epochs": 20,
    "data_loader": {
        "type": "DatasetLoader",
        "args": {
            "dataset": {
                "type": "FakeData",
                "args": {"size": 64, "image_size": [1, 8, 8], "num_classes": 10},
            },
            "validation_split": 0.2,
            "batch_size": 16,
            "drop_last": False,
        },
    },
    "optimizer": {
        "type": "AdamW",
        "args": {"lr": 0.002, "betas": [0.9, 0.99], "eps": 1e-6, "amsgrad": True},
    },
    "loss": {"type": "cross_entropy", "args": {"label_smoothing": 0.1}},
    "metrics": ["accuracy", {"type": "top_k_acc", "args": {"k": 2}, "name": "top2"}],
    "lr_scheduler": {
        "type": "CosineAnnealingLR",
        "args": {"T_max": "${my_epochs}", "eta_min": 0.0001},
    },
    "trainer": {
        "epochs": "${my_epochs}",
        "verbosity": 1,
        "monitor": "max val_ema_top2",
        "early_stop": 10,
        "precision": "bf16",
        "accumulation_steps": 2,
        "grad_clip_norm": 1.0,
        "ema_decay": 0.99,
        "compile": False,
        "warmup_steps": 5,
        "lr_scheduler_interval": "epoch",
        "deterministic": True,
        "len_epoch": 20,
    },
}


def read_shipped_texts() -> dict[str, str]:
    files = sorted(
        path for path in Path(ROOT, "config").iterdir() if path.suffix in (".json", ".yaml")
    )
    return {
        path.name: path.read_text(encoding="utf-8") for path in files if path.name != "schema.json"
    }


def get_base_configs() -> dict[str, dict[str, Any]]:
    """Returns the values of every shipped config that extends no other, and of RICH."""
    found: dict[str, dict[str, Any]] = {}
    for name in read_shipped_texts():
        data = read_tree(ROOT / "config" / name).data  # PyYAML reads by the rules of YAML 1.1
        data.pop("$schema", None)
        if "extends" not in data:
            found[name] = data
    found["rich"] = copy.deepcopy(found["config.json"] | RICH)
    return found


class Component(NamedTuple):
    """A ``{type, args}`` of a config, or a bare name, and the class or function that it names."""

    keys: Keys
    slot: str
    node: Any
    found: Any

    @property
    def name(self) -> str:
        return self.node if isinstance(self.node, str) else self.node["type"]

    @property
    def name_keys(self) -> Keys:
        return self.keys if isinstance(self.node, str) else (*self.keys, "type")

    @property
    def args(self) -> dict[str, Any]:
        return (self.node.get("args") or {}) if isinstance(self.node, dict) else {}


def list_components(data: dict[str, Any]) -> Iterator[Component]:
    """Yields all components of a config, at any depth, but none below a project's own keys."""
    for slot in SECTIONS:
        if slot in data:
            yield from _list_inside((slot,), slot, data[slot])
    for index, node in enumerate(data.get("metrics", [])):
        yield from _list_inside(("metrics", index), "metrics", node)


def _list_inside(keys: Keys, slot: str, node: Any) -> Iterator[Component]:
    component = Component(keys, slot, node, None)
    component = component._replace(found=find(component.name, slot))
    yield component
    for key, value in component.args.items():
        inner = next((name for name in SLOTS if key.endswith(name)), "")
        for index, item in enumerate(value if isinstance(value, list) else [value]):
            if inner and isinstance(item, dict) and "type" in item:
                end = (index,) if isinstance(value, list) else ()
                yield from _list_inside((*keys, "args", key, *end), inner, item)


def find(name: str, slot: str) -> Any:
    """Returns the object that ``name`` means in ``slot``, or None."""
    folder, homes, _ = SLOTS[slot]
    module, _, last = name.rpartition(".")
    for home in (f"{folder}.{module}", module) if module else homes:
        try:
            found = getattr(importlib.import_module(home), last, None)
        except (ImportError, ValueError):
            continue
        if found is not None:
            return found
    return None


def get_parameters(component: Component) -> tuple[dict[str, inspect.Parameter], bool]:
    """Returns what the config may give to a component, and whether it takes nothing else."""
    found, known = component.found, {}
    is_class = inspect.isclass(found)
    given = SLOTS[component.slot][2]
    if is_class and component.slot in ("loss", "metrics"):
        given = 0
    while True:
        signature = list(inspect.signature(found).parameters.values())[given:]
        try:
            hints = get_type_hints(found.__init__ if inspect.isclass(found) else found)
        except Exception:
            hints = {}
        is_inherited = found is not component.found
        for parameter in signature:
            if parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
                hint = hints.get(parameter.name, parameter.annotation)
                default = None if is_inherited else parameter.default
                known.setdefault(
                    parameter.name, parameter.replace(annotation=hint, default=default)
                )
        closed = not any(parameter.kind is parameter.VAR_KEYWORD for parameter in signature)
        ours = is_class and found.__module__.partition(".")[0] in ("base", "data_loader", "model")
        if closed or not ours:
            return known, closed
        found, given = found.__mro__[1], 0


def get_trainer_options() -> dict[str, inspect.Parameter]:
    options = inspect.signature(TrainerOptions).parameters
    hints = get_type_hints(TrainerOptions)
    known = {name: parameter.replace(annotation=hints[name]) for name, parameter in options.items()}
    length = inspect.Parameter(
        "len_epoch", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=int | None
    )
    return {**known, "len_epoch": length}


def get_logged_names(data: dict[str, Any]) -> set[str]:
    """Returns the names that ``monitor`` may hold."""
    names, trained = {"loss"}, {"loss"}
    for node in data.get("metrics", []):
        name = node if isinstance(node, str) else node.get("name", node["type"])
        name = name.rpartition(".")[2]
        names.add("map" if name == "MeanAveragePrecision" else name)
        if isinstance(node, str) or "on" not in node:
            trained.add(name)
    ema = {f"val_ema_{name}" for name in names} if data["trainer"].get("ema_decay") else set()
    return trained | {f"val_{name}" for name in names} | ema


def get_fitting_types(annotation: Any) -> set[type] | None:
    """Returns the JSON types that fit an annotation; None where that cannot be judged."""
    origin = get_origin(annotation)
    if origin in (Union, types.UnionType):
        found = [get_fitting_types(choice) for choice in get_args(annotation)]
        return None if None in found else set().union(*[kinds for kinds in found if kinds])
    if annotation is None or annotation is type(None):
        return {type(None)}
    if annotation is torch.Tensor:
        return set()
    if origin is Literal:
        return set()
    if annotation is float:
        return {float, int}
    if annotation in (int, bool, str):
        return {annotation}
    if annotation is Path:
        return {str}
    return {list} if (origin or annotation) in (list, tuple, Sequence, Iterable) else None


def get_wrong_values(parameter: inspect.Parameter) -> list[Any]:
    """Returns values that are certainly of a wrong type for a parameter."""
    if parameter.annotation is parameter.empty:
        return []
    fitting = get_fitting_types(parameter.annotation)
    if fitting is None:
        return []
    choices: list[Any] = ["wrong", 7, 2.5, True, None, [1, 2]]
    if parameter.default is None:
        choices.remove(None)  # `x: int = None`, as many write it, takes None
    return [value for value in choices if type(value) not in fitting]


def takes_list(parameter: inspect.Parameter) -> bool:
    return list in (get_fitting_types(parameter.annotation) or ())
