"""Two epochs of MNIST with LeNet as whole processes: ``python -m tests.benchmarks.mnist [FOLDER [ROUNDS]]``.

FOLDER holds torchvision's ``MNIST/raw``; without it a set of the same shape is made. Every arm validates, writes
TensorBoard and a checkpoint an epoch, and shows progress; ``limit`` is what one can write by hand who knows all of it.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[
    2
]  # tests.helpers would be in the peers' time, with all that it imports
BATCH, EPOCHS, VALID = 128, 2, 6_000
FILES = {"train": 60_000, "t10k": 10_000}


def make_set(folder: Path) -> None:
    """Writes random images and classes in MNIST's files."""
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    random = np.random.RandomState(0)
    for name, n in FILES.items():
        images, labels = (
            random.randint(0, 256, (n, 28, 28), np.uint8),
            random.randint(0, 10, n, np.uint8),
        )
        for kind, values in (("images-idx3", images), ("labels-idx1", labels)):
            header = np.array([0x800 + values.ndim, *values.shape], ">i4").tobytes()
            (raw / f"{name}-{kind}-ubyte").write_bytes(header + values.tobytes())


def by_one(folder: Path) -> tuple[Any, Any]:
    """Loaders as tutorials write them: one image at a time, through PIL."""
    from torch.utils.data import DataLoader, random_split
    from torchvision import datasets, transforms

    transform = transforms.Compose(
        [transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))]
    )
    data = datasets.MNIST(str(folder), train=True, transform=transform)
    train, valid = random_split(data, [len(data) - VALID, VALID])
    return DataLoader(train, BATCH, shuffle=True), DataLoader(valid, BATCH)


def limit(folder: Path, out: Path) -> None:
    """One normalised tensor, batches by index, the fused optimizer, channels_last, numbers fetched once an epoch."""
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
    raw = folder / "MNIST" / "raw"
    images = np.fromfile(raw / "train-images-idx3-ubyte", np.uint8, offset=16).reshape(
        -1, 1, 28, 28
    )
    labels = np.fromfile(raw / "train-labels-idx1-ubyte", np.uint8, offset=8).astype(np.int64)
    x, y = (torch.from_numpy(images).float() / 255 - 0.1307) / 0.3081, torch.from_numpy(labels)
    x = x.to(memory_format=torch.channels_last)
    model = LeNet().to(memory_format=torch.channels_last)
    optimizer, writer = torch.optim.Adam(model.parameters(), lr=LR, fused=True), SummaryWriter(out)
    for epoch in range(EPOCHS):
        model.train()
        total, right = torch.zeros(()), torch.zeros(())
        for index in tqdm(torch.randperm(len(x) - VALID).split(BATCH)):
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
            parts = zip(x[-VALID:].split(BATCH), y[-VALID:].split(BATCH), strict=True)
            valid = sum((model(part).argmax(1) == target).sum() for part, target in parts)
        for tag, value in (
            ("loss/train", total),
            ("accuracy/train", right),
            ("accuracy/valid", valid),
        ):
            writer.add_scalar(tag, value, epoch)
        torch.save(
            {"model": model.state_dict(), "optimizer": optimizer.state_dict()}, out / f"{epoch}.pt"
        )


def run(arm: str, folder: Path, out: Path) -> None:
    """One arm, in this process."""
    if arm == "limit":
        limit(folder, out)
        return
    from model.lenet import LeNet
    from tests.benchmarks.peers import ARMS

    ARMS[arm](LeNet(), *by_one(folder), EPOCHS, out)


def seconds_of(arm: str, folder: Path) -> float:
    """The time of a process."""
    with tempfile.TemporaryDirectory() as out:
        words = ["-m", "tests.benchmarks.mnist", "--arm", arm, str(folder), out]
        if arm == "ours":
            words = ["train.py", "-c", "mnist_lenet.json", f"data_loader.args.data_dir={folder}"]
            words += [
                f"data_loader.args.batch_size={BATCH}",
                f"trainer.epochs={EPOCHS}",
                f"trainer.save_dir={out}",
            ]
        start = time.perf_counter()
        subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, check=True)
        return time.perf_counter() - start


def main(folder: Path | None = None, rounds: int = 3) -> None:
    from tests.benchmarks.table import compare

    with tempfile.TemporaryDirectory() as made:
        if folder is None:
            folder = Path(made)
            make_set(folder)
        compare(
            "MNIST, LeNet, two epochs, whole process",
            "s",
            rounds,
            lambda arm: seconds_of(arm, folder),
        )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--arm"]:
        run(sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]))
    else:
        main(*map(Path, sys.argv[1:2]), *map(int, sys.argv[2:]))
