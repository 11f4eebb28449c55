"""The files that test.py writes: JSON, predictions, report."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from base.tools.page import draw_curves
from tests.base.tools.programs import Ended, add_module
from tests.helpers import make_trainer, small_config

Program = Callable[..., Ended]

HEADINGS = (
    "Scores",
    "Training",
    "learning rate",
    "Confusion matrix",
    "Calibration: expected calibration error",
    "Classes",
    "Most confident errors",
    "Least confident correct predictions",
    "Config",
)
ROWS = """
import torch
from torch.utils.data import TensorDataset
from base import BaseDataLoader


class Rows(BaseDataLoader):
    def __init__(self, batch_size: int = 16, training: bool = True):
        dataset = TensorDataset(torch.rand(60, 4), TARGET)
        super().__init__(dataset, batch_size, shuffle=training)
"""
LINE = """
from torch import nn
from base import BaseModel


class Line(BaseModel):
    def __init__(self, outputs: int):
        super().__init__()
        self.layer = nn.Linear(4, outputs)

    def forward(self, x):
        return self.layer(x)
"""


def test_the_error_of_each_step_of_a_forecast_is_in_one_chart() -> None:
    steps = {f"val_mae_{step}": float(step) for step in range(1, 13)}
    rows = [{"epoch": epoch, "loss": 1.0, "lr": 0.1, **steps} for epoch in (1, 2)]
    charts = draw_curves(rows)
    assert len(charts) == 3
    assert "val_mae: 6 of 12" in charts[1]
    assert ">12<" in charts[1]


def read_report(folder: Path) -> str:
    """The report of a run, without the unfolded texts: one is the diff of the source files."""
    text = (folder / "report.html").read_text()
    return re.sub(r"<pre>.*?</pre>", "", text, flags=re.DOTALL)


def test_the_json_holds_numbers_intervals_and_classes(tested: Path) -> None:
    content = json.loads((tested / "test" / "model_best.json").read_text())
    assert content["n_samples"] == 359
    low, high = content["intervals"]["accuracy"]
    assert low < content["metrics"]["accuracy"] < high
    assert len(content["classes"]) == 10
    assert sum(row["support"] for row in content["classes"]) == 359


def test_the_table_of_predictions_agrees_with_the_accuracy(tested: Path) -> None:
    rows = list(csv.DictReader((tested / "test" / "predictions.csv").open()))
    content = json.loads((tested / "test" / "model_best.json").read_text())
    right = sum(row["target"] == row["prediction"] for row in rows) / len(rows)
    assert right == pytest.approx(content["metrics"]["accuracy"])
    assert [int(row["index"]) for row in rows] == list(range(359))
    assert all(0 < float(row["confidence"]) <= 1 for row in rows)


def test_the_report_is_one_file_that_fetches_nothing(tested: Path) -> None:
    text = (tested / "report.html").read_text()
    sources = re.findall(r'(?:src|href)\s*=\s*"\s*([^"]*)', text)
    sources += re.findall(r"url\(([^)]*)", text)
    assert sources
    inside = ("data:image/", "#")  # in the file itself
    assert [source for source in sources if not source.startswith(inside)] == []
    assert not re.search(r"<script|<link|@import", text)
    assert [heading for heading in HEADINGS if heading not in read_report(tested)] == []
    assert "prefers-color-scheme: dark" in text
    assert len(text) < 3_000_000


def test_the_charts_of_a_report_take_the_colour_of_the_page(tested: Path) -> None:
    text = (tested / "report.html").read_text()
    charts = re.findall(r"<svg.*?</svg>", text, re.DOTALL)
    assert len(charts) >= 5
    for chart in charts:
        assert "currentColor" in chart
        assert "#1c2430" not in chart
        assert "#000000" not in chart
        assert "font-size" in chart  # text is text


def test_what_people_write_into_a_config_is_not_markup(tmp_path: Path, program: Program) -> None:
    config = small_config(tmp_path, epochs=1) | {"description": "<script>alert(1)</script>"}
    trainer = make_trainer(config)
    trainer.train()
    assert program("test.py", "-r", trainer.checkpoint_dir).status == 0
    assert "<script>" not in (trainer.checkpoint_dir / "report.html").read_text()


def test_no_link_leads_the_results_out_of_the_run(
    tested: Path, tmp_path: Path, program: Program
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(tested, folder)
    shutil.rmtree(folder / "test")
    (tmp_path / "elsewhere").mkdir()
    (folder / "test").symlink_to(tmp_path / "elsewhere")
    done = program("test.py", "-r", folder)
    assert done.status == 2
    assert "leads out of" in done.err
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize(
    ("loss", "outputs", "target", "expected"),
    [
        (
            "mse_loss",
            1,
            "torch.rand(60, 1)",
            ["Predictions", "Samples below each error, %", "Largest errors", "Training session 1"],
        ),
        (
            {"type": "BCEWithLogitsLoss"},
            3,
            "(torch.rand(60, 3) > 0.5).float()",
            ["Labels", "Calibration", "Largest errors"],
        ),
    ],
    ids=["regression", "labels"],
)
def test_regressions_and_labels_get_the_charts_that_fit(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    program: Program,
    loss: object,
    outputs: int,
    target: str,
    expected: list[str],
) -> None:
    add_module(monkeypatch, "data_loader", "rows", ROWS.replace("TARGET", target))
    add_module(monkeypatch, "model", "line", LINE)
    config = small_config(tmp_path) | {
        "arch": {"type": "line.Line", "args": {"outputs": outputs}},
        "data_loader": {"type": "rows.Rows"},
        "metrics": [],
        "loss": loss,
    }
    (tmp_path / "c.json").write_text(json.dumps(config))
    done = program("train.py", "-c", tmp_path / "c.json", "--run-id", "r")
    assert done.status == 0, done.err
    folder = tmp_path / "small" / "r"
    done = program("test.py", "-r", folder)
    assert done.status == 0, done.err
    text = read_report(folder)
    assert [heading for heading in expected if heading not in text] == []
    assert "Confusion matrix" not in text
    assert len(list(csv.DictReader((folder / "test" / "predictions.csv").open()))) == 60


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
def test_a_browser_shows_the_report(tested: Path, tmp_path: Path) -> None:
    picture = tmp_path / "report.png"
    flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run"
    flags += " --disable-background-networking --disable-component-update --disable-sync"
    flags += " --hide-scrollbars --window-size=400,900"
    words = [
        "chromium",
        *flags.split(),
        f"--user-data-dir={tmp_path / 'profile'}",
        f"--screenshot={picture}",
    ]
    subprocess.run(
        [*words, (tested / "report.html").as_uri()], check=True, capture_output=True, timeout=120
    )
    pixels = np.asarray(Image.open(picture).convert("RGB"))
    assert pixels.shape[1] == 400
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 50  # not a blank page
