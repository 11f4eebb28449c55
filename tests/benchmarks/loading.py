"""Images a second from memory: ``python -m tests.benchmarks.loading``. Generated, of MNIST's and of CIFAR's shapes."""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import datasets, transforms
from torchvision.transforms import v2

from base.base_data_loader import BaseDataLoader
from base.data.batch_transforms import CropEach, FlipEach
from base.loop.speedups import keep_freed_memory
from data_loader.photos import PhotoDataLoader, read_image

N, BATCH, ROUNDS = 20_000, 128, 5


class Pictures(Dataset[Any]):
    """As torchvision's MNIST and CIFAR10: an array, of which every sample becomes a PIL image."""

    def __init__(self, data: np.ndarray[Any, Any], transform: Any = None) -> None:
        self.data, self.transform = data, transform

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> Any:
        image = Image.fromarray(self.data[index])
        return (image if self.transform is None else self.transform(image)), 0


def rate(loader: Any) -> float:
    start = time.perf_counter()
    n = sum(len(images) for images, _ in loader)
    return n / (time.perf_counter() - start)


def main() -> None:
    for name, shape in (("28x28x1", (28, 28)), ("32x32x3", (32, 32, 3))):
        data = np.random.RandomState(0).randint(0, 256, (N, *shape), dtype=np.uint8)
        by_one = transforms.Compose(
            [
                transforms.RandomCrop(shape[0], padding=4),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize((0.5,), (0.5,)),
            ]
        )
        at_once = v2.Compose(
            [
                CropEach(4),
                FlipEach(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize((0.5,), (0.5,)),
            ]
        )
        loaders = {
            "torch's DataLoader, PIL, 2 workers": DataLoader(
                Pictures(data, by_one), BATCH, True, num_workers=2
            ),
            "cached, batch transforms, no worker": BaseDataLoader(
                Pictures(data), BATCH, cache=True, batch_transform=at_once
            ),
        }
        rows: dict[str, list[float]] = {what: [] for what in loaders}
        for _ in range(ROUNDS):
            for what, loader in loaders.items():
                rows[what].append(rate(loader))
        medians = [statistics.median(row) for row in rows.values()]
        for what, row in rows.items():
            print(
                f"{name}: {what}: {statistics.median(row):,.0f} images/s ({min(row):,.0f} to {max(row):,.0f})"
            )
        print(f"{name}: {medians[1] / medians[0]:.1f} times")


def make_photographs(folder: Path, n: int = 2000) -> None:
    """JPEG files in two classes, in the folders that PhotoDataLoader reads: 107 kB each, as ImageNet's are (108)."""
    random = np.random.RandomState(0)
    for split in ("train", "val"):
        for label in ("a", "b"):
            (folder / split / label).mkdir(parents=True)
    for index in range(n):
        small = random.randint(0, 256, (24, 32, 3), dtype=np.uint8)
        smooth = Image.fromarray(small).resize((500, 375), Image.Resampling.BICUBIC)
        grainy = np.asarray(smooth) + random.normal(0, 20, (375, 500, 3))
        image = Image.fromarray(grainy.clip(0, 255).astype(np.uint8))
        for split in ("train", "val") if index < 2 else ("train",):
            image.save(folder / split / "ab"[index % 2] / f"{index}.jpg", quality=90)


def photographs() -> None:
    """A folder of JPEG files, random resized crop and flip, two workers; this process has one thread."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_photographs(folder)
        crop = [
            v2.RandomResizedCrop(224, scale=(0.5, 1.0), antialias=True),
            v2.RandomHorizontalFlip(),
        ]
        by_pil = v2.Compose([*crop, transforms.ToTensor(), transforms.Normalize((0.5,), (0.5,))])
        root = str(folder / "train")
        decoded = datasets.ImageFolder(root, v2.CenterCrop(224), loader=read_image)
        loaders = {
            "torch's DataLoader, PIL": DataLoader(
                datasets.ImageFolder(root, by_pil), 32, True, num_workers=2
            ),
            "ours, v2 on bytes": PhotoDataLoader(name, 32, num_workers=2),
            "decoding alone": DataLoader(decoded, 32, True, num_workers=2),
        }
        rows: dict[str, list[float]] = {what: [] for what in loaders}
        for _ in range(ROUNDS):
            for what, loader in loaders.items():
                rows[what].append(rate(loader))
        by_pil_rate, ours, alone = (statistics.median(row) for row in rows.values())
        for what, row in rows.items():
            print(
                f"JPEG 500x375: {what}: {statistics.median(row):,.0f} images/s ({min(row):,.0f} to {max(row):,.0f})"
            )
        print(
            f"JPEG 500x375: {ours / by_pil_rate:.2f} of PIL, {ours / alone:.2f} of decoding alone"
        )


if __name__ == "__main__":
    keep_freed_memory()  # as train.py has it; for all of them
    main()
    photographs()
