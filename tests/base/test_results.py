"""What a tested checkpoint comes to: intervals, classes, the files, the report; and files without labels."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import precision_recall_fscore_support
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics.classification import MulticlassF1Score
from torchvision.transforms import v2

from base import BaseDataLoader
from base.loop.metrics import MetricSet
from base.tools.predict import Reader, predict
from base.tools.results import Recorder, Results, intervals, kind_of
from base.tools.samples import Samples
from data_loader.photos import PhotoDataLoader
from model.metric import accuracy
from tests.helpers import make_trainer, run, small_config


def scores(n: int = 400, classes: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    target = torch.randint(classes, (n,), generator=draw)
    return torch.randn(n, classes, generator=draw) + 2 * F.one_hot(target, classes), target


def test_what_the_shapes_tell() -> None:
    zeros = torch.zeros
    assert kind_of(zeros(4, 3), torch.tensor([0, 1, 2, 2])) == "classification"
    assert kind_of(zeros(4, 3), torch.tensor([0, 1, 2, 3])) == ""
    assert kind_of(zeros(4), torch.tensor([0.0, 1, 1, 0])) == "classification"
    assert kind_of(zeros(4, 1), torch.tensor([[0.0], [1], [1], [0]])) == "classification"
    assert kind_of(zeros(2, 3), torch.tensor([[0.0, 1, 1], [0, 0, 1]])) == "multilabel"
    assert kind_of(zeros(4), torch.tensor([0.5, 1, 1, 0])) == "regression"
    assert kind_of(zeros(4, 2), torch.tensor([0.5, 1, 1, 0])) == ""


def test_the_classes_are_scikit_learns() -> None:
    output, target = scores()
    found = Results(output, target, ["a", "b", "c"]).classes()
    expected = precision_recall_fscore_support(target, output.argmax(1))
    for place, key in enumerate(("precision", "recall", "f1", "support")):
        assert [row[key] for row in found] == pytest.approx(list(expected[place]))


def test_a_mean_has_the_interval_that_theory_gives() -> None:
    output, target = scores(3000)
    value = float(accuracy(output, target))
    low, high = intervals(
        (output, target), F.cross_entropy, [accuracy], {"accuracy": value, "loss": 0.0}
    )["accuracy"]
    half = 1.96 * (value * (1 - value) / 3000) ** 0.5
    assert (low, high) == (
        pytest.approx(value - half, abs=half / 4),
        pytest.approx(value + half, abs=half / 4),
    )


def test_what_is_no_mean_is_computed_anew_for_every_resample() -> None:
    output, target = scores(200)
    metric = MulticlassF1Score(3, average="macro")
    metric.__name__ = "f1"
    found = intervals(
        (output, target),
        F.cross_entropy,
        [metric],
        {"f1": float(metric(output, target)), "loss": 0.0},
    )
    low, high = found["f1"]
    assert 0 < low < float(metric(output, target)) < high < 1
    assert 0.02 < high - low < 0.3


def test_a_metric_that_refuses_a_resample_has_no_interval() -> None:
    def fussy(output: Any, target: Any) -> Any:
        raise ValueError("not like this")

    assert set(intervals(scores(), F.cross_entropy, [fussy], {"fussy": 0.0, "loss": 0.5})) == {
        "loss"
    }


def test_the_surest_mistakes_come_first() -> None:
    output = torch.tensor([[0.0, 5], [5, 0], [0, 1], [2, 0]])
    results = Results(output, torch.tensor([0, 0, 0, 0]), None)
    assert results.worst(5) == [0, 2]
    assert results.least_sure(5) == [3, 1]


def test_the_calibration_error_of_a_sure_and_always_wrong_model_is_one() -> None:
    bins, error = Results(
        torch.tensor([[50.0, 0]] * 4), torch.tensor([1, 1, 1, 1]), None
    ).calibration()
    assert error == pytest.approx(1.0)
    assert bins == [(pytest.approx(1.0), 0.0, 4)]


def test_outputs_that_are_no_rows_are_not_kept() -> None:
    recorder = Recorder([])
    recorder.reset()
    recorder.measure(torch.tensor(1.0), torch.zeros(2, 3, 4, 4), torch.zeros(2, 4, 4), 2)
    assert recorder.recorded() is None
    assert isinstance(recorder, MetricSet)
    assert recorder.result()["loss"] == 1.0


# -- test.py --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tested(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was trained and tested."""
    config = small_config(tmp_path_factory.mktemp("runs"), monitor="max val_accuracy")
    trainer = make_trainer(config)
    trainer.train()
    start = time.perf_counter()
    done = run("test.py", "-r", trainer.checkpoint_dir)
    assert done.returncode == 0, done.stderr
    assert time.perf_counter() - start < 60
    return Path(trainer.checkpoint_dir)


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
    sources = re.findall(r'(?:src|href)\s*=\s*"([^"]*)', text)
    assert sources
    assert all(source.startswith("data:image/") for source in sources)
    assert not re.search(r"<script|<link|@import|url\(", text)
    for heading in (
        "Scores",
        "Training",
        "learning rate",
        "Confusion matrix",
        "Calibration",
        "surest mistakes",
        "Config",
    ):
        assert heading in text
    assert "prefers-color-scheme: dark" in text
    assert len(text) < 3_000_000


def test_what_people_write_into_a_config_is_no_markup(tmp_path: Path) -> None:
    config = small_config(tmp_path, epochs=1) | {"description": "<script>alert(1)</script>"}
    trainer = make_trainer(config)
    trainer.train()
    assert run("test.py", "-r", trainer.checkpoint_dir).returncode == 0
    assert "<script>" not in (trainer.checkpoint_dir / "report.html").read_text()


def test_no_link_leads_the_results_out_of_the_run(tested: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(tested, folder)
    shutil.rmtree(folder / "test")
    (tmp_path / "elsewhere").mkdir()
    (folder / "test").symlink_to(tmp_path / "elsewhere")
    done = run("test.py", "-r", folder)
    assert done.returncode == 2
    assert "leads out of" in done.stderr
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize(
    ("loss", "target", "figures"),
    [
        (
            "mse_loss",
            "torch.rand(60, 1)",
            ["Predictions", "Errors, in % up to", "The largest errors"],
        ),
        (
            "BCEWithLogitsLoss",
            "(torch.rand(60, 3) > 0.5).float()",
            ["Labels", "Calibration", "The largest errors"],
        ),
    ],
)
def test_regressions_and_labels_get_the_figures_that_fit(
    tmp_path: Path, loss: str, target: str, figures: list[str]
) -> None:
    from tests.helpers import copy_project

    project = copy_project(tmp_path / "project")
    (project / "data_loader" / "rows.py").write_text(
        "import torch\nfrom torch.utils.data import TensorDataset\nfrom base import BaseDataLoader\n\n\n"
        "class Rows(BaseDataLoader):\n    def __init__(self, batch_size: int = 16, training: bool = True):\n"
        f"        super().__init__(TensorDataset(torch.rand(60, 4), {target}), batch_size, shuffle=training)\n"
    )
    outputs = 1 if loss == "mse_loss" else 3
    (project / "model" / "line.py").write_text(
        "from torch import nn\nfrom base import BaseModel\n\n\nclass Line(BaseModel):\n    def __init__(self):\n"
        f"        super().__init__()\n        self.layer = nn.Linear(4, {outputs})\n\n"
        "    def forward(self, x):\n        return self.layer(x)\n"
    )
    config = small_config(tmp_path) | {
        "arch": {"type": "line.Line"},
        "data_loader": {"type": "rows.Rows"},
        "metrics": [],
    }
    config |= {"loss": {"type": loss} if loss[0] == "B" else loss}
    (project / "c.json").write_text(json.dumps(config))
    assert run("train.py", "-c", "c.json", "--run-id", "r", cwd=project).returncode == 0
    folder = tmp_path / "small" / "r"
    done = run("test.py", "-r", folder, cwd=project)
    assert done.returncode == 0, done.stderr
    text = (folder / "report.html").read_text()
    assert [figure for figure in figures if figure not in text] == []
    assert "Confusion matrix" not in text
    assert len(list(csv.DictReader((folder / "test" / "predictions.csv").open()))) == 60


# -- files without labels -------------------------------------------------------------------------------------------


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


def test_the_dataset_opens_the_file_as_its_own(tmp_path: Path) -> None:
    for number, name in enumerate(("val/ants", "val/bees")):
        (tmp_path / name).mkdir(parents=True)
        Image.fromarray(np.full((40, 60, 3), 50 * number, np.uint8)).save(tmp_path / name / "a.png")
    loader = PhotoDataLoader(str(tmp_path), size=32, num_workers=0, training=False)
    values = Reader(Samples(loader)).read(tmp_path / "val" / "bees" / "a.png")
    assert torch.equal(values, loader.dataset[1][0])


def test_data_that_is_transformed_by_the_batch_looks_and_is_read_as_the_model_gets_it(
    tmp_path: Path,
) -> None:
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
    reader = Reader(samples)
    assert torch.equal(reader.batch([reader.read(tmp_path / "a.png")])[0], inputs[2])


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
def test_a_file_gets_what_the_data_has_for_a_target(
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
def test_nothing_to_predict_is_a_line(tested: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.png").write_bytes(b"no picture")
    done = run("test.py", "-r", tested, "--predict", tmp_path / name)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "--predict" in done.stderr


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
def test_a_browser_shows_the_report(tested: Path, tmp_path: Path) -> None:
    picture = tmp_path / "report.png"
    flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    flags += " --disable-component-update --disable-sync --hide-scrollbars --window-size=400,900"
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
