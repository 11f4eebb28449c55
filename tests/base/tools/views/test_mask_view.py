"""A segmentation is shown by the IoU of its classes, and by its worst pictures."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn
from torch.utils.data import DataLoader

from base.loop.task import TaskFacts
from base.tools.collectors.masks import LEFT_OUT, ClassMaps, Masks
from base.tools.overlays import Palette, draw_panels
from base.tools.page import Page
from base.tools.pictures import CAPTION_PIXELS, TILE_PIXELS
from base.tools.samples import Samples
from base.tools.views.masks import MaskView
from tests.base.tools.programs import Ended, call_program
from tests.helpers import make_trainer, small_config

Program = Callable[..., Ended]
NO_EDGES = {"type": "cross_entropy", "args": {"ignore_index": 255}}
CLASSES = ["background", "circle", "square", "triangle"]


def make_config(folder: Path, loss: Any, **trainer: Any) -> dict[str, Any]:
    config = small_config(folder, limit_batches=2, epochs=1, **trainer)
    jaccard = {"task": "multiclass", "num_classes": 4, "ignore_index": 255}
    return config | {
        "arch": {"type": "unet.UNet", "args": {"num_classes": 4, "width": 4, "depth": 1}},
        "data_loader": {
            "type": "shapes.ShapesDataLoader",
            "args": {"batch_size": 12, "size": 16, "validation_split": 0.2},
        },
        "loss": loss,
        "metrics": [{"type": "JaccardIndex", "args": jaccard}],
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was trained and tested."""
    config = make_config(tmp_path_factory.mktemp("runs"), NO_EDGES, tensorboard=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("logger.backends.backend.PATIENCE_SECONDS", 60.0)
        trainer = make_trainer(config)
        trainer.train()
    assert call_program("test.py", "-r", trainer.checkpoint_dir) == 0
    return Path(trainer.checkpoint_dir)


def test_the_json_has_the_iou_of_each_class(folder: Path) -> None:
    (path,) = (folder / "test").glob("*.json")
    content = json.loads(path.read_text())
    assert [row["class"] for row in content["classes"]] == CLASSES
    found = content["segmentation"]
    assert found["mean_iou"] == pytest.approx(content["metrics"]["JaccardIndex"])
    assert found["left_out"] > 0
    pixels = sum(row["pixels"] for row in content["classes"])
    assert pixels + found["left_out"] == content["n_samples"] * 16 * 16


def test_the_table_of_predictions_has_a_row_for_each_picture(folder: Path) -> None:
    rows = list(csv.DictReader((folder / "test" / "predictions.csv").open()))
    assert [int(row["index"]) for row in rows] == list(range(24))
    assert all(0 <= float(row["mean IoU"]) <= 1 for row in rows)


def test_the_report_shows_the_worst_pictures_first(folder: Path) -> None:
    text = (folder / "report.html").read_text()
    rows = csv.DictReader((folder / "test" / "predictions.csv").open())
    worst = sorted(rows, key=lambda row: float(row["mean IoU"]))[:2]
    _, _, section = text.partition("<h2>Worst pictures</h2>")
    figures = section.split("<figure>")[1:]
    assert len(figures) == 16
    for figure, row in zip(figures, worst, strict=False):
        assert f"sample {row['index']}" in figure
        assert "data:image/" in figure
    assert all(name in section for name in [*CLASSES[1:], "left out"])


def test_a_tracker_shows_targets_and_predictions(folder: Path) -> None:
    events = EventAccumulator(str(folder / "log"), size_guidance={"images": 0})
    events.Reload()
    tags = events.Tags()["images"]
    assert {"predictions/valid", "confusion_matrix/valid"} <= set(tags)


def test_a_mask_with_a_value_that_is_no_class_is_an_error_of_one_line(
    tmp_path: Path, program: Program
) -> None:
    (tmp_path / "c.json").write_text(json.dumps(make_config(tmp_path, "cross_entropy")))
    done = program("train.py", "-c", tmp_path / "c.json", "--check")
    assert done.status != 0
    (line,) = [line for line in done.err.splitlines() if "255" in line]
    assert "ignore_index" in line
    assert "Traceback" not in done.err


def test_an_absent_class_has_no_iou() -> None:
    masks = Masks(TaskFacts(nn.CrossEntropyLoss()))
    output = nn.functional.one_hot(torch.zeros(1, 2, 2, dtype=torch.int64), 3).movedim(3, 1)
    masks.add(output.float(), torch.tensor([[[0, 0], [0, 1]]]), 1)
    view = MaskView(masks, Samples(SimpleNamespace(dataset=[])))
    assert [row["iou"] for row in view.classes] == [0.75, 0.0, None]
    assert view.numbers["mean_iou"] == 0.375
    assert [line.split()[:2] for line in view.format_lines()[1:4]] == [
        ["0", "0.7500"],
        ["1", "0.0000"],
        ["2", "-"],
    ]


def test_an_overlay_tints_the_classes_and_leaves_the_background() -> None:
    picture = np.full((4, 4, 3), 100, dtype=np.uint8)
    target = torch.zeros(2, 2, dtype=torch.int16)
    target[0, 1], target[1, 1] = 1, LEFT_OUT
    panels = draw_panels(picture, ClassMaps(target, target), Palette(["background", "cat"]))
    shown = panels[:, 6:10]  # after the input and a gap
    assert shown[0, 0].tolist() == [100, 100, 100]
    assert shown[3, 3].tolist() == [0, 0, 0]
    assert shown[0, 3].tolist() not in ([100, 100, 100], [0, 0, 0])


def test_the_legend_has_left_out_pixels_only_where_there_are_some() -> None:
    output = nn.functional.one_hot(torch.zeros(1, 2, 2, dtype=torch.int64), 2).movedim(3, 1)
    found = {}
    for name, value in (("all", 1), ("some", 255)):
        masks = Masks(TaskFacts(partial(nn.functional.cross_entropy, ignore_index=255)))
        masks.add(output.float(), torch.tensor([[[0, 0], [0, value]]]), 1)
        loader = DataLoader([(torch.zeros(3, 2, 2), torch.zeros(2, 2, dtype=torch.int64))])
        view = MaskView(masks, Samples(loader))
        page = Page("title", "")
        view.add_to(page, "")
        drawn = view.draw([torch.zeros(3, 2, 2)])
        assert drawn is not None
        legend = drawn()[-TILE_PIXELS - CAPTION_PIXELS :]
        is_black = (legend[: TILE_PIXELS // 4] == 0).all(2).sum() > TILE_PIXELS
        found[name] = "left out</span>" in page.to_html(), bool(is_black)
    assert found == {"all": (False, False), "some": (True, True)}


def test_a_class_with_a_high_number_is_not_drawn_as_left_out() -> None:
    masks = Masks(TaskFacts(nn.CrossEntropyLoss()))
    masks.add(torch.rand(1, 300, 2, 2), torch.tensor([[[255, 299], [0, 1]]]), 1)
    (maps,) = masks.maps
    assert maps.target.tolist() == [[255, 299], [0, 1]]
    picture = np.full((2, 2, 3), 100, dtype=np.uint8)
    painted = Palette([str(number) for number in range(300)]).paint(picture, maps.target)
    assert len({tuple(pixel) for pixel in painted.reshape(-1, 3).tolist()}) == 4
