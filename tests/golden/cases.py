"""The runs whose bits are compared, and the hashes of what they leave behind."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

DIGITS = ["-c", "config.json"]
DDP = ["parallel.type=ddp", "parallel.args.num_processes=2"]
AUGMENTED = [
    "data_loader.type=DatasetLoader",
    "data_loader.args={dataset: {type: FakeData, args: {size: 300, image_size: [3, 16, 16],"
    " num_classes: 10, transform: {type: Compose, args: {transforms: [{type: RandomCrop,"
    " args: {size: 16, padding: 2}}, {type: ToImage}, {type: ToDtype, args: {dtype: float32,"
    " scale: true}}]}}}}, batch_size: 32, validation_split: 0.2, num_workers: 2}",
    "arch.args={num_classes: 10, in_channels: 3}",
]
TRANSFER = (
    "transfer={init_from: START, head: {num_classes: 10}, freeze: ['features.*', '!features.4.*'],"
    " thaw: [{epoch: 3, params: 'features.*', lr_scale: 0.1}],"
    " param_groups: [{params: '*.bias', weight_decay: 0}], layer_decay: 0.8}"
)
EVERYTHING = [
    "trainer.epochs=4",
    "trainer.accumulation_steps=3",
    "trainer.grad_clip_norm=0.5",
    "trainer.ema_decay=0.9",
    "trainer.warmup_steps=7",
    "trainer.precision=bf16",
    "trainer.monitor=max val_ema_accuracy",
    "trainer.keep_best=2",
]

# Name of the case: the words after `train.py`. START is a run of the case `default`.
CASES: dict[str, list[str]] = {
    "default": DIGITS,
    "mnist_lenet": [
        "-c",
        "mnist_lenet.json",
        "data_loader.args.data_dir=MNIST",
        "trainer.epochs=2",
    ],
    "breast_cancer_mlp": ["-c", "breast_cancer_mlp.yaml", "trainer.epochs=8"],
    "digits_gan": ["-c", "digits_gan.yaml", "trainer.epochs=4"],
    "transfer": [*DIGITS, "trainer.epochs=4", TRANSFER],
    "everything": [*DIGITS, *EVERYTHING],
    "ddp": [*DIGITS, *DDP, *EVERYTHING],
    "fsdp": [
        *DIGITS,
        "parallel.type=fsdp",
        "parallel.args.num_processes=2",
        "trainer.epochs=3",
        "trainer.accumulation_steps=2",
        "trainer.grad_clip_norm=0.5",
        "data_loader.args.batch_size=63",
    ],
    "len_epoch": [*DIGITS, "trainer.epochs=3", "trainer.len_epoch=13", "trainer.save_steps=5"],
    "killed": [*DIGITS, *AUGMENTED, *EVERYTHING, "trainer.save_steps=2"],
    "killed_ddp": [*DIGITS, *AUGMENTED, *EVERYTHING, *DDP, "trainer.save_steps=2"],
}


def run_case(name: str, project: Path, folder: Path) -> dict[str, str]:
    """Trains the case in ``folder`` and returns a hash of each part of its result."""
    words = list(CASES[name])
    if "MNIST" in " ".join(words):
        make_mnist(folder)
        words = [word.replace("MNIST", str(folder)) for word in words]
    if "START" in " ".join(words):
        train(project, [*CASES["default"], "trainer.epochs=2", *run_in(folder, "start")])
        words = [word.replace("START", str(folder / "golden" / "start")) for word in words]
    run = folder / "golden" / "run"
    words += run_in(folder, "run")
    if name.startswith("killed"):
        kill_in_the_middle(project, words, run)
        words = ["-r", str(run)]
    train(project, words)
    return hashes(run)


def run_in(folder: Path, run_id: str) -> list[str]:
    return [f"trainer.save_dir={folder}", "name=golden", "n_gpu=0", "--run-id", run_id]


def start(project: Path, words: list[str]) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": ""}
    return subprocess.Popen(
        [sys.executable, "train.py", *words],
        cwd=project,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def train(project: Path, words: list[str]) -> None:
    process = start(project, words)
    output, _ = process.communicate()
    assert process.returncode == 0, output


def kill_in_the_middle(project: Path, words: list[str], run: Path) -> None:
    """Kills the whole process group once a checkpoint of the second epoch's middle is written."""
    process = start(project, words)
    while not list(run.glob("checkpoint-epoch2-step*.pt")):
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert not list(run.glob("checkpoint-epoch4.pt")), "the kill came too late"


def make_mnist(folder: Path) -> None:
    """Files in MNIST's format: 600 training and 100 test images of noise."""
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    random = np.random.RandomState(0)
    for name, count in (("train", 600), ("t10k", 100)):
        images = random.randint(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = random.randint(0, 10, count, dtype=np.uint8)
        files = {
            f"{name}-images-idx3-ubyte": struct.pack(">4i", 2051, count, 28, 28) + images.tobytes(),
            f"{name}-labels-idx1-ubyte": struct.pack(">2i", 2049, count) + labels.tobytes(),
        }
        for file, content in files.items():
            (raw / file).write_bytes(content)
            (raw / f"{file}.gz").write_bytes(gzip.compress(content))


def hashes(run: Path) -> dict[str, str]:
    """Hashes of the weights, the optimizer, the rest of the newest checkpoint, and the metrics."""
    newest = max(
        run.glob("checkpoint-epoch*.pt"), key=lambda path: int(re.findall(r"\d+", path.name)[0])
    )
    state = torch.load(newest, map_location="cpu", weights_only=True)
    best = torch.load(run / "model_best.pt", map_location="cpu", weights_only=True)
    rest_of = {
        key: value
        for key, value in state.items()
        if key not in ("state_dict", "optimizer", "parts", "config", "environment")
    }
    # The first form also kept the steps, and how finely a batch was split for lack of memory.
    for key in ("steps", "parts"):
        state["parts"].get("update", {}).pop(key, None)
    lines = [json.loads(line) for line in (run / "log/metrics.jsonl").read_text().splitlines()]
    return {
        "weights": digest(state["state_dict"]),
        "best": digest(best["state_dict"]),
        "optimizer": digest(state["optimizer"]),
        "parts": digest(state["parts"]),
        "rest": digest(rest_of),
        "metrics": digest([{k: v for k, v in line.items() if k != "seconds"} for line in lines]),
    }


def digest(value: Any) -> str:
    """A hash of nested dicts, lists, tensors and plain values."""
    sha = hashlib.sha256()

    def walk(item: Any) -> None:
        if isinstance(item, torch.Tensor):
            sha.update(f"{item.dtype}{tuple(item.shape)}".encode())
            sha.update(item.contiguous().flatten().view(torch.uint8).numpy().tobytes())
        elif isinstance(item, dict):
            for key in sorted(item, key=str):
                sha.update(f"{key}:".encode())
                walk(item[key])
        elif isinstance(item, list | tuple):
            sha.update(f"[{len(item)}".encode())
            for inner in item:
                walk(inner)
        else:
            sha.update(f"{item!r},".encode())

    walk(value)
    return sha.hexdigest()[:16]
