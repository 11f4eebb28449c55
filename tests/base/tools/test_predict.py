"""``test.py --predict``: picture files without labels."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torchvision.transforms import v2

from base import BaseDataLoader
from base.tools.predict import PictureReader, predict
from base.tools.samples import Samples
from data_loader.photos import PhotoDataLoader
from tests.helpers import run


def test_pictures_of_a_folder_are_predicted_as_the_dataset_would_be(
    tested: Path, tmp_path: Path
) -> None:
    from sklearn.datasets import load_digits

    from data_loader.data_loaders import DigitsDataLoader

    dataset = DigitsDataLoader(training=False).dataset
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    assert load_digits().images.max() == 16
    for index in range(12):
        pixels = (dataset[index][0][0].numpy() * 255).round().astype(np.uint8)
        Image.fromarray(pixels).save(pictures / f"{index:02}.png")
    (pictures / "broken.png").write_bytes(b"no picture")
    done = run("test.py", "-r", tested, "--predict", pictures)
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader((tested / "test" / "predict-pictures.csv").open()))
    expected = [
        row["prediction"] for row in csv.DictReader((tested / "test" / "predictions.csv").open())
    ][:12]
    assert [row["prediction"] for row in rows] == [*expected, ""]
    assert "broken.png: cannot be read" in done.stdout


def test_a_file_is_read_by_the_loader_of_the_dataset(tmp_path: Path) -> None:
    for number, name in enumerate(("val/ants", "val/bees")):
        (tmp_path / name).mkdir(parents=True)
        Image.fromarray(np.full((40, 60, 3), 50 * number, np.uint8)).save(tmp_path / name / "a.png")
    loader = PhotoDataLoader(str(tmp_path), size=32, num_workers=0, training=False)
    values = PictureReader(Samples(loader)).read(tmp_path / "val" / "bees" / "a.png")
    assert torch.equal(values, loader.dataset[1][0])


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
    assert torch.equal(reader.make_batch([reader.read(tmp_path / "a.png")])[0], inputs[2])


@pytest.mark.parametrize(
    ("target", "loss", "prediction", "confidence"),
    [
        (torch.tensor([0, 1, 2, 1]), nn.CrossEntropyLoss(), "2", True),
        (
            torch.tensor([[0.0, 1, 0], [1, 1, 0], [0, 0, 0], [1, 1, 1]]),
            nn.BCEWithLogitsLoss(),
            "1 2",
            False,
        ),
        (torch.tensor([[0.0, 1, 0], [1, 1, 0], [0, 0, 0], [1, 1, 1]]), nn.BCELoss(), "2", False),
        (
            torch.tensor([[0.5, 1, 0], [1, 1, 0], [0, 0, 0], [1, 1, 1]]),
            nn.MSELoss(),
            "-1 0.25 2",
            False,
        ),
    ],
)
def test_a_prediction_has_the_form_of_the_targets(
    tmp_path: Path, target: torch.Tensor, loss: nn.Module, prediction: str, confidence: bool
) -> None:
    class Constant(nn.Module):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return torch.tensor([-1.0, 0.25, 2.0]).repeat(len(inputs), 1)

    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "a.png")
    loader = DataLoader(TensorDataset(torch.zeros(4, 1, 8, 8), target), 4)
    path = predict(Constant(), tmp_path / "a.png", loader, loss, torch.device("cpu"), tmp_path)
    (row,) = csv.DictReader(path.open())
    assert row["prediction"] == prediction
    assert bool(row["confidence"]) is confidence


@pytest.mark.parametrize("name", ["nothing-there", "empty", "broken.png"])
def test_nothing_to_predict_is_one_line(tested: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.png").write_bytes(b"no picture")
    done = run("test.py", "-r", tested, "--predict", tmp_path / name)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "--predict" in done.stderr
