"""Images a second that loaders give: ``python -m tests.benchmarks.loading``.

From memory, random images with the shapes of MNIST and CIFAR; from the disk, JPEG files.
"""

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

NUM_IMAGES, BATCH_SIZE, ROUNDS = 20_000, 128, 5
NUM_PHOTOS, PHOTO_BATCH_SIZE = 2000, 32
SHAPES = {"28x28x1": (28, 28), "32x32x3": (32, 32, 3)}
Array = np.ndarray[Any, Any]


class Images(Dataset[Any]):
    """As torchvision's MNIST and CIFAR10: it makes a PIL image of each sample of an array."""

    def __init__(self, data: Array, transform: Any = None) -> None:
        self.data, self.transform = data, transform

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> Any:
        image = Image.fromarray(self.data[index])
        return (image if self.transform is None else self.transform(image)), 0


def measure_rate(loader: Any) -> float:
    start = time.perf_counter()
    num_images = sum(len(images) for images, _ in loader)
    return num_images / (time.perf_counter() - start)


def compare(title: str, loaders: dict[str, Any]) -> list[float]:
    """Measures the loaders in turn; prints and returns the median rate of each."""
    rates: dict[str, list[float]] = {name: [] for name in loaders}
    for _ in range(ROUNDS):
        for name, loader in loaders.items():
            rates[name].append(measure_rate(loader))
    medians = [statistics.median(row) for row in rates.values()]
    for (name, row), median in zip(rates.items(), medians, strict=True):
        spread = f"{min(row):,.0f} to {max(row):,.0f}"
        print(f"{title}: {name}: {median:,.0f} images/s ({spread})")
    return medians


def make_loaders(data: Array) -> dict[str, Any]:
    each_image = transforms.Compose(
        [
            transforms.RandomCrop(data.shape[1], padding=4),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize((0.5,), (0.5,)),
        ]
    )
    each_batch = v2.Compose(
        [
            CropEach(4),
            FlipEach(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize((0.5,), (0.5,)),
        ]
    )
    return {
        "torch's DataLoader, PIL, 2 workers": DataLoader(
            Images(data, each_image), BATCH_SIZE, True, num_workers=2
        ),
        "cached, batch transforms, no worker": BaseDataLoader(
            Images(data), BATCH_SIZE, cache=True, batch_transform=each_batch
        ),
    }


def measure_memory() -> None:
    for name, shape in SHAPES.items():
        random = np.random.RandomState(0)
        data = random.randint(0, 256, (NUM_IMAGES, *shape), dtype=np.uint8)
        theirs, ours = compare(name, make_loaders(data))
        print(f"{name}: {ours / theirs:.1f} times")


def make_photos(folder: Path) -> None:
    """Writes JPEG files of two classes into the folders that PhotoDataLoader reads.

    A file has 107 kB; the mean of ImageNet is 108 kB.
    """
    random = np.random.RandomState(0)
    for split in ("train", "val"):
        for label in ("a", "b"):
            (folder / split / label).mkdir(parents=True)
    for index in range(NUM_PHOTOS):
        small = random.randint(0, 256, (24, 32, 3), dtype=np.uint8)
        smooth = Image.fromarray(small).resize((500, 375), Image.Resampling.BICUBIC)
        grainy = np.asarray(smooth) + random.normal(0, 20, (375, 500, 3))
        image = Image.fromarray(grainy.clip(0, 255).astype(np.uint8))
        for split in ("train", "val") if index < 2 else ("train",):
            image.save(folder / split / "ab"[index % 2] / f"{index}.jpg", quality=90)


def measure_photos() -> None:
    """Compares random resized crops and flips of JPEG files in two workers."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        make_photos(Path(folder))
        crop = v2.RandomResizedCrop(224, scale=(0.5, 1.0), antialias=True)
        normalize = transforms.Normalize((0.5,), (0.5,))
        steps = [crop, v2.RandomHorizontalFlip(), transforms.ToTensor(), normalize]
        root = str(Path(folder, "train"))
        by_pil = datasets.ImageFolder(root, v2.Compose(steps))
        decoded = datasets.ImageFolder(root, v2.CenterCrop(224), loader=read_image)
        loaders = {
            "torch's DataLoader, PIL": DataLoader(by_pil, PHOTO_BATCH_SIZE, True, num_workers=2),
            "ours, v2 on bytes": PhotoDataLoader(folder, PHOTO_BATCH_SIZE, num_workers=2),
            "decoding only": DataLoader(decoded, PHOTO_BATCH_SIZE, True, num_workers=2),
        }
        theirs, ours, decoding = compare("JPEG 500x375", loaders)
    print(f"JPEG 500x375: {ours / theirs:.2f} of PIL, {ours / decoding:.2f} of decoding only")


if __name__ == "__main__":
    keep_freed_memory()  # as train.py does; here for all loaders
    measure_memory()
    measure_photos()
