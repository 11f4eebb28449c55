"""``test.py --predict``: the rows for each kind of outputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset
from torchvision import tv_tensors
from torchvision.transforms import v2

from base.loop.evaluate import mark_computes_loss
from base.tools.predict.predict import predict
from data_loader.boxed_shapes import BoxedShapes
from data_loader.shapes import Shapes
from tests.base.tools.predict.subjects import Fixed, Readable, make_subject, read_table
from utils.errors import UserError

CLASSES = torch.tensor([0, 1, 2, 1])
LABELS = torch.tensor([[0.0, 1, 0], [1, 1, 0], [0, 0, 0], [1, 1, 1]])
NUMBERS = torch.tensor([[0.5, 1, 0], [1, 1, 0], [0, 0, 0], [1, 1, 1]])
SECOND = 1 / (1 + np.exp(-0.25))


@pytest.mark.parametrize(
    ("target", "loss", "expected"),
    [
        (CLASSES, nn.CrossEntropyLoss(), {"prediction": "2", "confidence": "0.817287"}),
        (LABELS, nn.BCEWithLogitsLoss(), {"prediction": "1 2", "probability_1": f"{SECOND:.6g}"}),
        (LABELS, nn.BCELoss(), {"prediction": "2", "probability_1": "0.25"}),
        (NUMBERS, nn.MSELoss(), {"prediction_1": "-1", "prediction_3": "2"}),
    ],
    ids=["classes", "labels", "labels by probabilities", "numbers"],
)
def test_a_prediction_has_the_form_of_the_targets(
    tmp_path: Path, target: torch.Tensor, loss: nn.Module, expected: dict[str, str]
) -> None:
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "a.png")
    data = TensorDataset(torch.zeros(4, 1, 8, 8), target)
    values = torch.tensor([-1.0, 0.25, 2.0])
    subject = make_subject(tmp_path, lambda x: values.repeat(len(x), 1), loss, data)
    done = predict(subject, tmp_path / "a.png")
    assert done.path == tmp_path / "test" / "predict-a.png.csv"
    (row,) = read_table(done.path)
    assert row["path"] == str(tmp_path / "a.png")
    assert row.items() >= expected.items()


class Standardised:
    """A transform of targets whose inverse gives real units."""

    def inverse(self, values: torch.Tensor) -> torch.Tensor:
        return 100 + 10 * values


@pytest.mark.parametrize(
    ("shape", "columns", "cells"),
    [
        ((), ["prediction"], ["110"]),
        ((1,), ["prediction"], ["110"]),
        ((3,), ["prediction_1", "prediction_2", "prediction_3"], ["110", "110", "110"]),
        ((2, 2), [f"prediction_{i}_{j}" for i in (1, 2) for j in (1, 2)], ["110"] * 4),
    ],
    ids=["a number", "a column", "horizons", "horizons of two series"],
)
def test_numbers_have_real_units(
    tmp_path: Path, shape: tuple[int, ...], columns: list[str], cells: list[str]
) -> None:
    data = Readable(torch.zeros(4, 2), torch.rand(4, *shape))
    data.target_transform = Standardised()  # type: ignore[attr-defined]
    (tmp_path / "rows").write_text("1 2\n3 4\n")
    subject = make_subject(tmp_path, lambda x: torch.ones(len(x), *shape), nn.MSELoss(), data)
    rows = read_table(predict(subject, tmp_path / "rows").path)
    assert [*rows[0]] == ["name", *columns]
    assert [*rows[1].values()] == ["line 2", *cells]


def test_a_scaler_of_scikit_learn_gives_real_units_too(tmp_path: Path) -> None:
    data = Readable(torch.zeros(4, 2), torch.rand(4, 2))
    scaler = StandardScaler().fit([[0.0, 10.0], [2.0, 30.0]])
    data.target_transform = scaler  # type: ignore[attr-defined]
    (tmp_path / "rows").write_text("1 2")
    subject = make_subject(tmp_path, lambda x: torch.ones(len(x), 2), nn.MSELoss(), data)
    (row,) = read_table(predict(subject, tmp_path / "rows").path)
    assert row == {"name": "line 1", "prediction_1": "2", "prediction_2": "30"}


def test_an_output_that_is_not_a_prediction_is_written_as_it_is(tmp_path: Path) -> None:
    """As that of an encoder, whose targets are classes, or which has none."""
    data = Readable(torch.zeros(4, 2), CLASSES)
    data.target_transform = Standardised()  # type: ignore[attr-defined]
    (tmp_path / "rows").write_text("1 2")
    model = Fixed(lambda x: {"features": x[:, None] * 2, "projections": x})
    subject = make_subject(
        tmp_path, model, lambda output, target: output["projections"].sum(), data
    )
    (row,) = read_table(predict(subject, tmp_path / "rows").path)
    assert row == {"name": "line 1", "output_1_1": "2", "output_1_2": "4"}


def test_too_many_numbers_for_a_row_are_refused(tmp_path: Path) -> None:
    data = Readable(torch.zeros(4, 2), CLASSES)
    (tmp_path / "rows").write_text("1 2")
    subject = make_subject(tmp_path, lambda x: torch.zeros(len(x), 101, 100), nn.MSELoss(), data)
    with pytest.raises(UserError, match=r"gives \(101, 100\) numbers for an input"):
        predict(subject, tmp_path / "rows")


@pytest.mark.parametrize("is_binary", [False, True])
def test_masks_are_pictures_of_classes_with_the_fraction_of_each(
    tmp_path: Path, is_binary: bool
) -> None:
    def run(pictures: torch.Tensor) -> torch.Tensor:
        left = torch.zeros(len(pictures), 1, 4, 4)
        left[:, :, :, 0] = 9.0
        return left - 1 if is_binary else torch.cat([torch.ones_like(left), left], 1)

    pictures = tmp_path / "pictures"
    for folder in ("a", "b"):
        (pictures / folder).mkdir(parents=True)
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(pictures / folder / "x.png")
    target = torch.zeros(4, 1, 4, 4) if is_binary else torch.zeros(4, 4, 4, dtype=torch.int64)
    loss = nn.BCEWithLogitsLoss() if is_binary else nn.CrossEntropyLoss()
    data = TensorDataset(torch.zeros(4, 1, 4, 4), target)
    subject = make_subject(tmp_path, run, loss, data)
    rows = read_table(predict(subject, pictures).path)
    folder = tmp_path / "test" / "predict-pictures"
    assert [row["mask"] for row in rows] == [str(folder / "x.png"), str(folder / "x-2.png")]
    assert [(row["fraction_0"], row["fraction_1"]) for row in rows] == [("0.75", "0.25")] * 2
    mask = np.array(Image.open(folder / "x-2.png"))
    assert mask.tolist() == [[1, 0, 0, 0]] * 4


def test_each_box_has_a_row(tmp_path: Path) -> None:
    def run(pictures: Any, targets: Any) -> list[dict[str, torch.Tensor]]:
        found = []
        for picture in pictures:
            count = int(picture.sum() > 0) * 2
            box = torch.tensor([1.0, 2.0, 3.0, 4.0]).repeat(count, 1)
            labels, scores = torch.ones(count, dtype=torch.int64), torch.full((count,), 0.5)
            found.append({"boxes": box, "labels": labels, "scores": scores})
        return found

    def collate(samples: list[Any]) -> list[list[Any]]:
        return [list(values) for values in zip(*samples, strict=True)]

    class Detection(Readable):
        classes = ("background", "shape")

    boxes = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}
    data = Detection([torch.zeros(2)] * 4, [boxes] * 4)
    model = Fixed(run)
    mark_computes_loss(model, True)
    (tmp_path / "rows").write_text("0 0\n1 2\n")
    loader = DataLoader(data, 2, collate_fn=collate)
    rows = read_table(predict(make_subject(tmp_path, model, None, loader), tmp_path / "rows").path)
    assert [[*row.values()] for row in rows] == [
        ["line 1", "", "", "", "", "", ""],
        ["line 2", "shape", "0.5", "1", "2", "3", "4"],
        ["line 2", "shape", "0.5", "1", "2", "3", "4"],
    ]


def test_one_logit_for_each_pixel_gives_masks_also_with_a_loss_of_the_project(
    tmp_path: Path,
) -> None:
    def dice(output: Any, target: Any) -> torch.Tensor:
        return 1 - (output * target).sum() / (output + target).sum()

    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "x.png")
    data = TensorDataset(torch.zeros(4, 1, 4, 4), torch.zeros(4, 1, 4, 4))

    def run(pictures: torch.Tensor) -> torch.Tensor:
        return torch.full_like(pictures, 0.4).index_fill(3, torch.tensor([2]), 0.6)

    (row,) = read_table(predict(make_subject(tmp_path, run, dice, data), tmp_path / "x.png").path)
    assert row["fraction_1"] == "0.25"  # values from 0 to 1 are probabilities


class Pairs(Dataset[Any]):
    """Pictures and masks that one transform prepares, as those of torchvision's v2 do."""

    def __init__(self, sizes: list[tuple[int, int]]) -> None:
        self.images = [Image.fromarray(np.full(size, 9, np.uint8)) for size in sizes]
        self.transform = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Any:
        mask = tv_tensors.Mask(torch.zeros(self.images[index].size[::-1], dtype=torch.uint8))
        picture, mask = self.transform(self.images[index], mask)
        return picture, mask.long()


@pytest.mark.parametrize("sizes", [[(4, 4)], [(4, 4), (6, 5)]], ids=["one size", "several"])
def test_a_picture_keeps_its_size_if_the_rows_have_positions(
    tmp_path: Path, sizes: list[tuple[int, int]]
) -> None:
    """A mask or a box in a resized picture would not fit the file."""
    Image.fromarray(np.zeros((8, 6), np.uint8)).save(tmp_path / "x.png")
    loss, loader = nn.CrossEntropyLoss(), DataLoader(Pairs(sizes), 1)
    subject = make_subject(tmp_path, lambda x: x.repeat(1, 2, 1, 1), loss, loader)
    (row,) = read_table(predict(subject, tmp_path / "x.png").path)
    assert np.array(Image.open(row["mask"])).shape == (8, 6)


@pytest.mark.parametrize("data", [Shapes(2, 16, 0), BoxedShapes(2)], ids=["masks", "boxes"])
def test_the_generated_pictures_have_a_method_for_files(tmp_path: Path, data: Any) -> None:
    pixels = np.arange(90, dtype=np.uint8).reshape(5, 6, 3)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"no picture")
    (name, values), (_, error) = data.read(tmp_path)
    assert name == str(tmp_path / "a.png")
    assert torch.equal((values * 255).round(), torch.from_numpy(pixels).permute(2, 0, 1).float())
    assert isinstance(error, OSError)
