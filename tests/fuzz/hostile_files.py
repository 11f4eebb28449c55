"""Hostile configs whose mischief is in the files and links around them, their letters, or the parts they name."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.fuzz.hostile_names import (
    BIDI,
    CLEAR,
    ESC,
    JSON,
    REST,
    TITLE,
    Case,
    Config,
    case,
    linked,
    small,
    with_trainer,
)

LONG = "x" * 300
LETTERS = {
    "colours": CLEAR,
    "a title": TITLE,
    "direction": BIDI,
    "a surrogate": "\ud800",
    "C1": "\x9b2J",
}


def files() -> Iterator[Case]:
    for what, content in {
        "empty": b"",
        "binary": bytes(range(256)) * 20,
        "UTF-16": JSON.encode("utf-16"),
        "UTF-16 without a mark": JSON.encode("utf-16-le"),
        "Latin-1": JSON.replace("hostile", "h\xf6stile").encode("latin-1"),
        "overlong UTF-8": JSON.encode().replace(b"hostile", b"\xc0\xaf"),
        "a NUL": JSON.encode().replace(b"hostile", b"host\0ile"),
        "a raw control character": JSON.encode().replace(b"hostile", CLEAR.encode()),
        "a pickle": b"cos\nsystem\n(S'touch executed'\ntR.",
        "a script": b"#!/bin/sh\ntouch executed\n",
        "Python": b"__import__('os').system('touch executed')\n",
    }.items():
        yield case(f"file: {what}", content, ".json")
        yield case(f"file: {what}, as YAML", content, ".yaml")
    yield case(
        "file: a byte-order mark",
        b"\xef\xbb\xbf" + json.dumps(small(arch=5)).encode(),
        ".json",
        tells=("arch",),
    )
    yield Case("file: a FIFO", {}, "fifo.json", prepare=lambda here: os.mkfifo(here / "fifo.json"))
    yield Case(
        "file: a folder", {}, "folder.json", prepare=lambda here: (here / "folder.json").mkdir()
    )
    yield Case("file: a ring of links", {}, "ring.json", prepare=linked("ring.json", "ring.json"))
    for path in (
        "/dev/zero",
        "/dev/stdin",
        "/proc/self/mem",
        "/proc/self/pagemap",
        "/etc/passwd",
        "/",
        "\0",
        "x" * 300,
    ):
        yield Case(f"file: {path[:20]!r}", {}, path)
    for path in (f"{CLEAR}.json", f"{TITLE}.json", f"{BIDI}nosj.json", "a\nb.json"):
        yield Case(f"file: named {path!r}", {path: json.dumps(small(arch=5))}, tells=("arch",))
        yield Case(f"file: not there, named {path!r}", {}, path)


def characters() -> Iterator[Case]:
    """Control and direction characters, and keys that hide one another."""
    for what, text in {
        "colours": CLEAR,
        "a title": TITLE,
        "direction": BIDI,
        "a surrogate": "\ud800",
        "C1": "\x9b2J",
    }.items():
        yield case(f"letters: {what} in a key", small(**{f"x{text}": 1}), passes=True)
        yield case(
            f"letters: {what} in an option", with_trainer(**{f"epoch{text}": 1}), passes=True
        )
        yield case(
            f"letters: {what} in an argument",
            small(optimizer={"type": "Adam", "args": {f"lr{text}": 1}}),
        )
        yield case(f"letters: {what} in a value", small(seed=f"1{text}"), tells=("seed",))
        yield case(f"letters: {what} in a choice", with_trainer(precision=text))
        yield case(
            f"letters: {what} in the monitor",
            small(trainer=small()["trainer"] | {"monitor": f"min {text}"}),
        )
        yield case(
            f"letters: {what} in save_dir", with_trainer(save_dir=f"a{text}"), tells=("save_dir",)
        )
        metric = {"type": "accuracy", "name": f"a{text}"}
        yield case(f"letters: {what} in a metric's name", small(metrics=[metric]), passes=True)
        yield case(f"letters: {what} in a reference", small(mine=f"${{a{text}}}"))
        yield case(f"letters: {what} in the description", small(description=text), passes=True)
        drop = {"type": "torchvision.ops.StochasticDepth", "args": {"p": 0.1, "mode": text}}
        yield case(f"letters: {what} in what a model prints", small(arch=drop), passes=True)
    yield case(
        "keys: one that hides another",
        JSON[:-1] + ', "arch": {"type": "os.system"}}',
        ".json",
        tells=("arch: given twice",),
    )
    hidden = '{arch: {type: os.system}, "\\x61rch": {type: SmallConvNet}, '
    yield case("keys: the same, written otherwise", hidden + REST, tells=("given twice",))
    yield case(
        "keys: << that hides", f"{{<<: {{arch: {{type: os.system}}}}, <<: {JSON}, x: *nothing}}"
    )
    yield case(
        "keys: an attribute of the section", small(__class__="os", _read=[], tree={}), passes=True
    )
    for key in ("__class__", "__dict__", "self", "_read", "config"):
        yield case(
            f"keys: {key} as an argument", small(arch={"type": "SmallConvNet", "args": {key: "x"}})
        )
        yield case(f"keys: {key} as an option", with_trainer(**{key: "x"}), passes=True)


def links() -> Iterator[Case]:
    """``outside/victim`` lies beside the folder where the program runs; nothing may reach it."""

    def fifo(here: Path) -> None:
        (here / "runs/hostile/r/log").mkdir(parents=True)
        os.mkfifo(here / "runs/hostile/r/log/info.log")

    run = "runs/hostile/r"
    passing: dict[str, Any] = {"run_id": "r", "passes": True}
    for path, up in (("runs/hostile", "../.."), (run, "../../.."), (f"{run}/log", "../../../..")):
        yield case(
            f"link: {path} to a folder", small(), prepare=linked(path, f"{up}/outside"), **passing
        )
        yield case(
            f"link: {path} to nothing",
            small(),
            prepare=linked(path, f"{up}/outside/new"),
            **passing,
        )
        yield case(
            f"link: {path} to itself",
            small(),
            prepare=linked(path, path.rpartition("/")[2]),
            **passing,
        )
    for path in (
        "log/info.log",
        "log/.lock",
        "log/metrics.jsonl",
        "config.json",
        "provenance.json",
        "model_best.pt",
    ):
        victim = "../" * (path.count("/") + 4) + "outside/victim"
        yield case(f"link: {path}", small(), prepare=linked(f"{run}/{path}", victim), **passing)
    yield case("link: a FIFO as the log", small(), run_id="r", passes=True, prepare=fifo)
    for what, path in {
        "below a file": "main.json/x",
        "a file": "main.json",
        "a NUL": "a\0b",
        "a device": "/dev/null",
    }.items():
        trainer = {"epochs": 1, "save_dir": path, "tensorboard": False}
        yield case(f"save_dir: {what}", small(trainer=trainer), tells=("trainer.save_dir: ",))
    long = {"epochs": 1, "save_dir": "x" * 300, "tensorboard": False}
    yield case("save_dir: 300 characters", small(trainer=long), passes=True)


def overrides() -> Iterator[Case]:
    for word in (
        "arch.type=os.system",
        "loss=torch.hub.load",
        "metrics=[torch.load]",
        "mine=!!python/object/apply:os.system [touch executed]",
        "seed=0x" + "F" * 5000,
        "name=0x" + "F" * 5000,
        "arch.__class__.x=1",
        f"{CLEAR}=1",
        f"seed={CLEAR}",
        f"~{BIDI}",
        "seed=" + "[" * 10_000,
        "a." * 10_000 + "b=1",
        "seed=${trainer}",
        "name=../x",
        "trainer.save_dir=main.json/x",
        "=",
        "\n=\n",
        "metrics.99999999999999999999=1",
        "metrics.²=1",
    ):
        passes = word.startswith(("mine", "\n", CLEAR))
        yield Case(f"override: {word[:40]!r}", {"main.json": JSON}, words=(word,), passes=passes)


def other_parts() -> Iterator[Case]:
    """Parts that are of the right kind, and try to do more; the check may let those pass that do no harm."""
    victim = {
        "template_name": "main.json",
        "output_name": "../outside/victim",
        "replacements": [["{", ["owned"], 0]],
    }
    lister = {
        "type": "torch.utils.data.datapipes.iter.filelister.FileListerIterDataPipe",
        "args": {"root": "."},
    }
    opener = {"type": "torch.utils.data.datapipes.iter.fileopener.FileOpenerIterDataPipe"}
    opener |= {"args": {"datapipe": ["../outside/victim"], "mode": "w"}}
    writer = {"type": "torch.utils.data.datapipes.gen_pyi.gen_from_template", "args": victim}
    gan: dict[str, Any] = {
        "arch": {"type": "gan.Gan"},
        "loss": "binary_cross_entropy_with_logits",
        "metrics": [],
        "trainer": small()["trainer"] | {"type": "gan.GanTrainer"},
    }
    for name in ("__class__", "__getattribute__", "__init_subclass__", "lr_scheduler.os.system"):
        second = {"discriminator_optimizer": {"type": name}}
        yield case(f"part: a second optimizer {name}", small(**gan, **second), passes=True)
    absolute = dict(victim)
    yield case(
        "part: a collate_fn that writes a file",
        loading(dataset=lister, batch_size=None, collate_fn=writer),
        prepare=lambda here: absolute_paths(here, absolute),
    )
    for name, args in {
        "downloading": {"dataset": 1, "root": "x"},
        "split_indices": {"n_samples": 9, "split": 3},
    }.items():
        yield case(
            f"part: the helper {name} as loader",
            small(data_loader={"type": name, "args": args}),
            passes=True,
        )
    yield case("part: a dataset that opens to write", loading(dataset=opener), passes=True)
    for name, args in {
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
    }.items():
        yield case(
            f"part: a model that is {name}", small(arch={"type": name, "args": args}), passes=True
        )
    files_of_system = {"type": "ImageFolder", "args": {"root": "/etc", "loader": "os.system"}}
    yield case("part: a folder of the system", loading(dataset=files_of_system), passes=True)
    fake = {
        "type": "FakeData",
        "args": {"transform": {"type": "Lambda", "args": {"lambd": "os.system"}}},
    }
    yield case("part: a transform of code", loading(dataset=fake), passes=True)
    workers = {"worker_init_fn": "os.system", "multiprocessing_context": "os.system"}
    yield case(
        "part: workers that begin with a name",
        loading(dataset={"type": "FakeData"}, **workers),
        passes=True,
    )
    schedule = {
        "type": "LambdaLR",
        "args": {"lr_lambda": "__import__('os').system('touch executed')"},
    }
    yield case("part: a schedule of code", small(lr_scheduler=schedule), passes=True)
    yield case("part: a compile flag as code", with_trainer(compile="os.system"))
    yield case(f"part: {ESC!r} as all of it", dict.fromkeys(small(), ESC))


def loading(**args: Any) -> Config:
    return small(data_loader={"type": "torch.utils.data.DataLoader", "args": args})


def absolute_paths(here: Path, paths: dict[str, Any]) -> None:
    """What joins its names to a sample's path takes absolute ones only."""
    text = (here / "main.json").read_text()
    for name in ("template_name", "output_name"):
        text = text.replace(
            json.dumps(paths[name]), json.dumps(str((here / paths[name]).resolve()))
        )
    (here / "main.json").write_text(text)
