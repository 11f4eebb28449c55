"""``test.py --predict``: picture files without labels."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, Dataset, TensorDataset
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from base import BaseDataLoader
from base.data.image_file import ORIENTATION
from base.tools.predict.batches import BatchMaker
from base.tools.predict.pictures import PictureReader
from base.tools.samples import Samples
from data_loader.data_loaders import DigitsDataLoader
from data_loader.photos import PhotoDataLoader
from tests.base.tools.programs import Ended
from utils.errors import UserError

Program = Callable[..., Ended]


def test_pictures_of_a_folder_are_predicted_like_the_samples_of_the_dataset(
    tested: Path, tmp_path: Path, program: Program
) -> None:
    dataset = DigitsDataLoader(training=False).dataset
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    assert load_digits().images.max() == 16
    for index in range(12):
        pixels = (dataset[index][0][0].numpy() * 255).round().astype(np.uint8)
        Image.fromarray(pixels).save(pictures / f"{index:02}.png")
    (pictures / "broken.png").write_bytes(b"no picture")
    done = program("test.py", "-r", tested, "--predict", pictures)
    assert done.status == 3, done.err
    rows = list(csv.DictReader((tested / "test" / "predict-pictures.csv").open()))
    of_dataset = list(csv.DictReader((tested / "test" / "predictions.csv").open()))
    expected = [row["prediction"] for row in of_dataset[:12]]
    assert [row["prediction"] for row in rows] == [*expected, ""]
    assert "broken.png: cannot be read" in done.out
    assert "1 of 13 inputs have no prediction" in done.out


def test_a_file_is_read_by_the_loader_of_the_dataset(tmp_path: Path) -> None:
    for number, name in enumerate(("val/ants", "val/bees")):
        (tmp_path / name).mkdir(parents=True)
        Image.fromarray(np.full((40, 60, 3), 50 * number, np.uint8)).save(tmp_path / name / "a.png")
    loader = PhotoDataLoader(str(tmp_path), size=32, num_workers=0, training=False)
    values = PictureReader(Samples(loader)).read(tmp_path / "val" / "bees" / "a.png")
    assert torch.equal(values, loader.dataset[1][0])


@pytest.mark.parametrize("of_training", ["usual", "turned"])
def test_a_file_is_read_right_where_the_loader_of_torchvision_would_not(
    tmp_path: Path, of_training: str
) -> None:
    """It makes 16-bit pixels white. A training photograph that is not turned decides the rest."""
    (tmp_path / "train" / "a").mkdir(parents=True)
    exif = Image.Exif()
    exif[ORIENTATION] = 1 if of_training == "usual" else 6
    pixels = np.arange(64, dtype=np.uint8).reshape(8, 8)
    Image.fromarray(pixels).save(tmp_path / "train" / "a" / "a.png", exif=exif)
    loader = BaseDataLoader(ImageFolder(tmp_path / "train", v2.PILToTensor()), 1)
    read = PictureReader(Samples(loader)).read
    Image.fromarray(pixels.astype(np.uint16) * 256).save(tmp_path / "wide.png")
    assert np.array_equal(read(tmp_path / "wide.png")[0], pixels)
    exif[ORIENTATION] = 6
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    expected = np.rot90(pixels, -1) if of_training == "usual" else pixels
    assert np.array_equal(read(tmp_path / "turned.png")[0], expected)


def test_a_batch_transform_applies_to_files_too(tmp_path: Path) -> None:
    pixels = torch.randint(256, (4, 1, 8, 8), dtype=torch.uint8)
    normalise = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize((0.5,), (0.25,))])
    loader = BaseDataLoader(
        TensorDataset(pixels, torch.arange(4)), 4, shuffle=False, batch_transform=normalise
    )
    samples, inputs = Samples(loader), next(iter(loader))[0]
    assert torch.equal(samples.fetch(2), inputs[2])
    picture = samples.picture(samples.fetch(2))
    assert picture is not None
    assert np.array_equal(picture[..., 0], pixels[2, 0].numpy())
    Image.fromarray(pixels[2, 0].numpy()).save(tmp_path / "a.png")
    reader = PictureReader(samples)
    batch = BatchMaker(loader).make_batch([reader.read(tmp_path / "a.png")])
    assert torch.equal(batch[0][0], inputs[2])


class Normalising(Dataset[Any]):
    """Reads files, and normalises them itself or by its ``transform``."""

    def __init__(self, folder: Path, scale: float = 1.0, transform: Any = None) -> None:
        self.paths = sorted(folder.glob("*.png"))
        self.scale, self.transform = scale, transform

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Any:
        image = Image.open(self.paths[index])
        if self.transform is not None:
            image = self.transform(image)
        else:
            image = torch.from_numpy(np.array(image))[None] / 255
        return self.scale * image, 0


class InMemory(Normalising):
    def __init__(self, folder: Path, scale: float = 1.0, transform: Any = None) -> None:
        super().__init__(folder, scale, transform)
        self.images = [Image.open(path).copy() for path in self.paths]
        self.size = len(self.paths)
        self.paths = []

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Any:
        assert self.transform is not None
        return self.scale * self.transform(self.images[index]), 0


class Inverting(InMemory):
    """Changes the picture before its transform."""

    def __getitem__(self, index: int) -> Any:
        picture = self.images[index] if self.scale == 1 else ImageOps.invert(self.images[index])
        return self.transform(picture), 0


class Numbered(Normalising):
    """Opens files that it does not list, and changes the picture before its transform."""

    def __init__(self, folder: Path, scale: float = 1.0, transform: Any = None) -> None:
        super().__init__(folder, scale, transform)
        self.folder, self.paths = folder, [Path(path.name) for path in self.paths]

    def __getitem__(self, index: int) -> Any:
        with Image.open(self.folder / self.paths[index]) as file:
            picture = file.convert("L")
        return self.transform(picture if self.scale == 1 else ImageOps.invert(picture)), 0


class Delegating(Dataset[Any]):
    """Has the transform of the dataset inside."""

    def __init__(self, inner: Normalising) -> None:
        self.inner = inner

    @property
    def transform(self) -> Any:
        return self.inner.transform

    def __len__(self) -> int:
        return len(self.inner)

    def __getitem__(self, index: int) -> Any:
        return self.inner[index]


TO_TENSOR = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])


@pytest.mark.parametrize(
    ("kind", "transform"),
    [
        (Normalising, None),
        (Normalising, TO_TENSOR),
        (InMemory, TO_TENSOR),
        (Inverting, TO_TENSOR),
        (Numbered, TO_TENSOR),
    ],
)
def test_a_dataset_that_prepares_pictures_outside_of_its_transform_is_refused(
    tmp_path: Path, kind: type[Normalising], transform: Any
) -> None:
    """raster-vision #1053: files would be read in another way than the training data."""
    for level in (60, 200):
        Image.fromarray(np.full((8, 8), level, np.uint8)).save(tmp_path / f"{level:03}.png")
    samples = Samples(DataLoader(kind(tmp_path, 1.0, transform), 2))
    assert torch.equal(PictureReader(samples).read(tmp_path / "060.png"), samples.raw(0))
    with pytest.raises(UserError, match=f"{kind.__name__} prepares its pictures itself"):
        PictureReader(Samples(DataLoader(kind(tmp_path, 0.5, transform), 2)))


def test_a_dataset_with_the_transform_of_another_one_is_refused(tmp_path: Path) -> None:
    Image.fromarray(np.full((8, 8), 60, np.uint8)).save(tmp_path / "a.png")
    data = Delegating(InMemory(tmp_path, transform=TO_TENSOR))
    with pytest.raises(UserError, match="Delegating prepares its pictures itself"):
        PictureReader(Samples(DataLoader(data, 2)))


def test_values_in_memory_that_are_no_pixels_are_refused() -> None:
    data = TensorDataset(torch.randn(4, 1, 8, 8), torch.arange(4))
    with pytest.raises(UserError, match="TensorDataset prepares its pictures itself"):
        PictureReader(Samples(DataLoader(data, 2)))


@pytest.mark.parametrize("name", ["nothing-there", "empty", "broken.png"])
def test_nothing_to_predict_is_an_error_of_one_line(
    tested: Path, tmp_path: Path, program: Program, name: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.png").write_bytes(b"no picture")
    done = program("test.py", "-r", tested, "--predict", tmp_path / name)
    assert done.status == 2
    assert len(done.err.strip().splitlines()) == 1
    assert "--predict" in done.err
