"""Two epochs of LeNet on MNIST, from the start of a process to its end.

Run it with ``python -m tests.benchmarks.mnist [FOLDER [ROUNDS]]``. FOLDER contains torchvision's
``MNIST/raw``; without it, random images of the same number and shape are made. Every arm validates,
writes to TensorBoard, writes a checkpoint after each epoch, and shows the progress. ``limit`` is
written by hand, with everything that is known to make it faster.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

# Not from tests.helpers, whose imports would count in the time of the peers.
ROOT = Path(__file__).parents[2]
BATCH_SIZE, EPOCHS, NUM_VALID = 128, 2, 6_000
NUM_IMAGES = {"train": 60_000, "t10k": 10_000}  # by the start of a file's name
MEAN, STD = 0.1307, 0.3081


def make_dataset(folder: Path) -> None:
    """Writes files like MNIST's, with random images and classes."""
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    random = np.random.RandomState(0)
    for name, count in NUM_IMAGES.items():
        images = random.randint(0, 256, (count, 28, 28), np.uint8)
        labels = random.randint(0, 10, count, np.uint8)
        for kind, values in (("images-idx3", images), ("labels-idx1", labels)):
            header = np.array([0x800 + values.ndim, *values.shape], ">i4").tobytes()
            (raw / f"{name}-{kind}-ubyte").write_bytes(header + values.tobytes())


def make_loaders(folder: Path) -> tuple[Any, Any]:
    """Makes loaders as tutorials do: PIL reads and transforms each image."""
    from torch.utils.data import DataLoader, random_split
    from torchvision import datasets, transforms

    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((MEAN,), (STD,))])
    data = datasets.MNIST(str(folder), train=True, transform=transform)
    train, valid = random_split(data, [len(data) - NUM_VALID, NUM_VALID])
    return DataLoader(train, BATCH_SIZE, shuffle=True), DataLoader(valid, BATCH_SIZE)


def load_training_set(folder: Path) -> tuple[Any, Any]:
    """Returns the normalised images (N, 1, 28, 28) in channels_last, and the classes (N,)."""
    import torch

    raw = folder / "MNIST" / "raw"
    pixels = np.fromfile(raw / "train-images-idx3-ubyte", np.uint8, offset=16)
    labels = np.fromfile(raw / "train-labels-idx1-ubyte", np.uint8, offset=8).astype(np.int64)
    images = torch.from_numpy(pixels.reshape(-1, 1, 28, 28)).float()
    x = ((images / 255 - MEAN) / STD).to(memory_format=torch.channels_last)
    return x, torch.from_numpy(labels)


def limit(folder: Path, out: Path) -> None:
    """Trains with batches by index, the fused optimizer, and numbers fetched once an epoch."""
    import ctypes

    import torch
    import torch.nn.functional as F
    from torch.utils.tensorboard import SummaryWriter
    from tqdm import tqdm

    from model.lenet import LeNet
    from tests.benchmarks.peers import LR

    libc = ctypes.CDLL(None)
    libc.mallopt(-1, 2**30)  # M_TRIM_THRESHOLD
    libc.mallopt(-3, 2**25)  # M_MMAP_THRESHOLD
    x, y = load_training_set(folder)
    model = LeNet().to(memory_format=torch.channels_last)
    optimizer, writer = torch.optim.Adam(model.parameters(), lr=LR, fused=True), SummaryWriter(out)
    for epoch in range(EPOCHS):
        model.train()
        total, right = torch.zeros(()), torch.zeros(())
        for index in tqdm(torch.randperm(len(x) - NUM_VALID).split(BATCH_SIZE)):
            output = model(x[index])
            loss = F.cross_entropy(output, y[index])
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            with torch.no_grad():
                total += loss
                right += (output.argmax(1) == y[index]).sum()
        model.eval()
        with torch.no_grad():
            batches = zip(
                x[-NUM_VALID:].split(BATCH_SIZE), y[-NUM_VALID:].split(BATCH_SIZE), strict=True
            )
            valid = sum((model(images).argmax(1) == target).sum() for images, target in batches)
        writer.add_scalar("loss/train", total, epoch)
        writer.add_scalar("accuracy/train", right, epoch)
        writer.add_scalar("accuracy/valid", valid, epoch)
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
        torch.save(state, out / f"{epoch}.pt")


def run(arm: str, folder: Path, out: Path) -> None:
    """Runs an arm in this process."""
    if arm == "limit":
        limit(folder, out)
        return
    from model.lenet import LeNet
    from tests.benchmarks.peers import ARMS, Job

    ARMS[arm](Job(LeNet(), *make_loaders(folder), EPOCHS, out))


def measure_seconds(arm: str, folder: Path) -> float:
    """Returns the seconds of a process that runs an arm."""
    with tempfile.TemporaryDirectory() as out:
        words = ["-m", "tests.benchmarks.mnist", "--arm", arm, str(folder), out]
        if arm == "ours":
            words = [
                "train.py",
                "-c",
                "mnist_lenet.json",
                f"data_loader.args.data_dir={folder}",
                f"data_loader.args.batch_size={BATCH_SIZE}",
                f"trainer.epochs={EPOCHS}",
                f"trainer.save_dir={out}",
            ]
        start = time.perf_counter()
        subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, check=True)
        return time.perf_counter() - start


def main(folder: Path | None = None, rounds: int = 3) -> None:
    from tests.benchmarks.table import compare

    with tempfile.TemporaryDirectory() as name:
        if folder is None:
            folder = Path(name)
            make_dataset(folder)
        measure = partial(measure_seconds, folder=folder)
        compare("MNIST, LeNet, two epochs, complete process", "s", rounds, measure)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--arm"]:
        run(sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]))
    else:
        main(*map(Path, sys.argv[1:2]), *map(int, sys.argv[2:]))
