"""Reports of several targets: each has scores and charts of its own."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.utils.data import TensorDataset

from base import BaseDataLoader
from base.loop.collector import Collection
from base.tools.page import Page
from base.tools.samples import Samples
from base.tools.views.register import make_view
from base.tools.views.regression import score_targets
from base.tools.views.rows import RowView


def make_report(n_targets: int, names: list[str] | None = None) -> tuple[RowView, str]:
    generator = torch.Generator().manual_seed(0)
    target = torch.randn(40, n_targets, generator=generator) * 10.0 ** torch.arange(n_targets)
    error = torch.randn(40, n_targets, generator=generator) * 10.0 ** torch.arange(n_targets)
    output = target + error * torch.linspace(0.1, 0.5, n_targets)
    dataset: Any = TensorDataset(torch.zeros(40, 1), target)
    dataset.target_names = names
    collection = Collection()
    collection.add(output, target, 40)
    view = make_view(collection, Samples(BaseDataLoader(dataset, 40, shuffle=False)))
    assert isinstance(view, RowView)
    page = Page("", "")
    view.add_to(page, "")
    return view, page.to_html()


def test_each_target_has_charts_and_scores_in_its_unit() -> None:
    view, html = make_report(3, ["price", "days", "size"])
    assert html.count("<svg") == 6
    assert "price: predictions" in html
    scores = view.to_dict()["targets"]
    assert [row["target"] for row in scores] == ["price", "days", "size"]
    assert scores[2]["mae"] > 50 * scores[0]["mae"]
    assert view.format_lines()[0].split() == ["target", "r2", "mae", "rmse"]
    header = view.list_predictions()[0]
    assert header[1:7] == [
        f"{kind}_{name}" for kind in ("target", "prediction") for name in ("price", "days", "size")
    ]


def test_of_many_targets_the_worst_have_charts() -> None:
    view, html = make_report(9)
    assert html.count("<svg") == 12
    assert "of 9 targets the 6 with the lowest R2" in html
    worst = sorted(view.to_dict()["targets"], key=lambda row: row["r2"])[0]["target"]
    assert f">{worst}: predictions<" in html


def test_one_target_has_no_table_of_targets() -> None:
    view, html = make_report(1)
    assert html.count("<svg") == 2
    assert "targets" not in view.to_dict()
    assert view.list_predictions()[0][1:3] == ["target", "prediction"]


def test_the_largest_errors_are_those_relative_to_the_spread_of_each_target() -> None:
    view, _ = make_report(2)
    target = np.stack([np.arange(4.0), 1000 * np.arange(4.0)], 1)
    prediction = target.copy()
    prediction[1, 0] += 5
    prediction[2, 1] += 100
    results = view.results
    results.target, results.prediction = target, prediction
    assert results.most_confident_errors(2) == [1, 2]


def test_the_scores_are_those_of_scikit_learn() -> None:
    from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

    rng = np.random.default_rng(0)
    target, prediction = rng.normal(size=(30, 2)), rng.normal(size=(30, 2))
    target[:, 1] = 4
    first, constant = score_targets(target, prediction, ["a", "b"])
    columns = target[:, 0], prediction[:, 0]
    expected = [f(*columns) for f in (r2_score, mean_absolute_error, root_mean_squared_error)]
    assert np.allclose([first["r2"], first["mae"], first["rmse"]], expected)
    assert constant["r2"] is None
