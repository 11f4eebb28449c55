"""Hostile configs whose components fit their slots, and try to do more than train.

The check may accept those that do no harm.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.fuzz.hostile_names import ESC, Case, Config, make_case, make_config, make_trainer_config

MODELS: dict[str, Config] = {
    "torch.distributed.nn.RemoteModule": {"remote_device": "x/cpu", "module_cls": "os.system"},
    "torch.fx.GraphModule": {"root": {}, "graph": "import os"},
    "torch.jit.ScriptFunction": {},
    "torch.jit.RecursiveScriptModule": {"cpp_module": 0},
    "torch.nn.MultiheadAttention": {"embed_dim": 10, "num_heads": 3},
    "torchvision.models.detection.backbone_utils.resnet_fpn_backbone": {
        "backbone_name": "partial",
        "weights": None,
    },
    "list_models": {},
    "torch.nn.Linear": {"in_features": 10**6, "out_features": 10**6},
    "torchmetrics.text.BERTScore": {},
    "resnet18": {
        "weights": {
            "type": "Weights",
            "args": {"url": "http://[::1]:9", "transforms": None, "meta": {}},
        }
    },
}
HELPERS: dict[str, Config] = {
    "downloading": {"dataset": 1, "root": "x"},
    "split_indices": {"n_samples": 9, "split": 3},
}
FILE_LISTER = {
    "type": "torch.utils.data.datapipes.iter.filelister.FileListerIterDataPipe",
    "args": {"root": "."},
}
FILE_OPENER = {
    "type": "torch.utils.data.datapipes.iter.fileopener.FileOpenerIterDataPipe",
    "args": {"datapipe": ["../outside/victim"], "mode": "w"},
}
FILE_WRITER: Config = {
    "type": "torch.utils.data.datapipes.gen_pyi.gen_from_template",
    "args": {
        "template_name": "main.json",
        "output_name": "../outside/victim",
        "replacements": [["{", ["owned"], 0]],
    },
}


def second_optimizers() -> Iterator[Case]:
    gan: Config = {
        "arch": {"type": "gan.GAN"},
        "loss": "binary_cross_entropy_with_logits",
        "metrics": [],
        "trainer": make_config()["trainer"] | {"type": "gan.GanTrainer"},
    }
    for name in ("__class__", "__getattribute__", "__init_subclass__", "lr_scheduler.os.system"):
        second = {"discriminator_optimizer": {"type": name}}
        yield make_case(
            f"part: a second optimizer {name}", make_config(**gan, **second), may_pass=True
        )


def data() -> Iterator[Case]:
    yield make_case(
        "part: a collate_fn that writes a file",
        make_loader_config(dataset=FILE_LISTER, batch_size=None, collate_fn=FILE_WRITER),
        prepare=make_paths_absolute,
    )
    for name, args in HELPERS.items():
        config = make_config(data_loader={"type": name, "args": args})
        yield make_case(f"part: the helper {name} as loader", config, may_pass=True)
    opening = make_loader_config(dataset=FILE_OPENER)
    yield make_case("part: a dataset that opens to write", opening, may_pass=True)


def models() -> Iterator[Case]:
    for name, args in MODELS.items():
        config = make_config(arch={"type": name, "args": args})
        yield make_case(f"part: a model that is {name}", config, may_pass=True)


def settings() -> Iterator[Case]:
    """Values of arguments and options that are code, or name it."""
    system_files = {"type": "ImageFolder", "args": {"root": "/etc", "loader": "os.system"}}
    config = make_loader_config(dataset=system_files)
    yield make_case("part: a folder of the system", config, may_pass=True)
    transform = {"type": "Lambda", "args": {"lambd": "os.system"}}
    config = make_loader_config(dataset={"type": "FakeData", "args": {"transform": transform}})
    yield make_case("part: a transform of code", config, may_pass=True)
    workers = {"worker_init_fn": "os.system", "multiprocessing_context": "os.system"}
    config = make_loader_config(dataset={"type": "FakeData"}, **workers)
    yield make_case("part: workers that begin with a name", config, may_pass=True)
    code = "__import__('os').system('touch executed')"
    config = make_config(lr_scheduler={"type": "LambdaLR", "args": {"lr_lambda": code}})
    yield make_case("part: a schedule of code", config, may_pass=True)
    yield make_case("part: a compile flag as code", make_trainer_config(compile="os.system"))
    yield make_case(f"part: {ESC!r} as all of it", dict.fromkeys(make_config(), ESC))


def make_loader_config(**args: Any) -> Config:
    return make_config(data_loader={"type": "torch.utils.data.DataLoader", "args": args})


def make_paths_absolute(here: Path) -> None:
    """Makes the paths of FILE_WRITER absolute, as it joins relative ones to a sample's path."""
    text = (here / "main.json").read_text()
    for name in ("template_name", "output_name"):
        path = FILE_WRITER["args"][name]
        text = text.replace(json.dumps(path), json.dumps(str((here / path).resolve())))
    (here / "main.json").write_text(text)
