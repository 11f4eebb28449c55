"""Metrics that give several numbers: vectors, dicts and collections."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torchmetrics

from base.loop.metrics import MetricSet
from tests.base.loop.test_metrics import make_batch, measure
from tests.helpers import make_trainer, small_config
from tests.ranks import in_ranks
from utils.errors import UserError
from utils.numbers import split_numbers

TASK = {"task": "multiclass", "num_classes": 10}
COLLECTION = {
    "type": "MetricCollection",
    "args": {
        "metrics": [
            {"type": "Accuracy", "args": TASK},
            {"type": "F1Score", "args": TASK | {"average": "macro"}},
        ]
    },
}


@pytest.mark.parametrize(
    ("value", "labels", "numbers"),
    [
        (2, (), {"m": 2}),
        (torch.tensor([1.0, 2.0]), (), {"m_0": 1.0, "m_1": 2.0}),
        (np.array([1.0, 2.0]), ("cat", "dog"), {"m_cat": 1.0, "m_dog": 2.0}),
        ([1.0, 2.0, 3.0], ("cat", "dog"), {"m_0": 1.0, "m_1": 2.0, "m_2": 3.0}),
        ({"a": 1.0, "b": [2, 3]}, (), {"m_a": 1.0, "m_b_0": 2, "m_b_1": 3}),
        ({"map": torch.tensor(0.5)}, (), {"m_map": 0.5}),
    ],
)
def test_each_number_has_a_name(value: Any, labels: tuple[str, ...], numbers: Any) -> None:
    assert split_numbers("m", value, labels) == numbers


NO_NUMBERS = [torch.ones(0), np.ones((2, 2)), None, "1", [[1.0], [2.0, 3.0]], {}, {"a": None}]
NO_NUMBERS += [torch.ones(1001), (torch.ones(3), torch.ones(3))]  # the second as ROC gives it


@pytest.mark.parametrize("value", NO_NUMBERS, ids=lambda value: repr(value)[:20])
def test_a_metric_that_gives_anything_else_is_refused_in_one_line(value: Any) -> None:
    def other(output: Any, target: Any) -> Any:
        return value

    with pytest.raises(UserError, match=r"'other.*' must give a number, or a ") as caught:
        measure([other], (1, 3))
    assert "\n" not in str(caught.value)


def test_a_number_for_each_sample_is_refused() -> None:
    """Else the log would have a column for each sample of a batch."""

    def hits(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return (output.argmax(dim=1) == target).float()

    with pytest.raises(UserError, match="'hits' gave 3 numbers for 3 samples; take their mean"):
        measure([hits], (1, 3))


def test_vectors_are_means_over_samples() -> None:
    def both(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return torch.stack([output.mean(), target.float().mean()])

    metrics = MetricSet([both])
    batches = [make_batch(1, 4), make_batch(2, 3)]
    for output, target in batches:
        metrics.add_batch(torch.tensor(1.0), output, target)
    assert metrics.summary().startswith("loss 1.0000  both_0 ")
    expected = sum(len(target) * output.mean().item() for output, target in batches) / 7
    assert metrics.result()["both_0"] == pytest.approx(expected)


def test_a_torchmetrics_vector_is_logged_by_class_and_may_be_monitored(tmp_path: Any) -> None:
    recall = {"type": "Recall", "args": TASK | {"average": "none"}, "name": "recall"}
    config = small_config(tmp_path, epochs=1, monitor="max val_recall_3") | {"metrics": [recall]}
    trainer = make_trainer(config)
    trainer.train_metrics.labels = [f"class {label}" for label in range(10)]
    trainer.train()
    log = trainer.last_log
    assert {"recall_class 0", "val_recall_9"} <= log.keys()
    assert trainer.monitoring.best == log["val_recall_3"]


def train(config: dict[str, Any], run_id: str) -> dict[str, Any]:
    trainer = make_trainer(config, run_id)
    trainer.train()
    log: dict[str, Any] = trainer.last_log
    return log


def test_a_collection_is_logged_by_its_keys_over_all_ranks(tmp_path: Any) -> None:
    config = small_config(tmp_path, epochs=1) | {"metrics": [COLLECTION]}
    single = train(config, "one")
    assert {"MulticlassAccuracy", "val_MulticlassF1Score"} <= single.keys()
    for log in in_ranks(2, train, config, "two"):
        assert log.keys() == single.keys()


def test_a_collection_with_a_name_resumes_in_the_middle_of_an_epoch(tmp_path: Any) -> None:
    config = small_config(tmp_path, epochs=1, save_steps=4, keep_last=9)
    config |= {"metrics": [COLLECTION | {"name": "all"}], "seed": 1}
    trainer = make_trainer(config)
    trainer.train()
    path = sorted(trainer.checkpoint_dir.glob("checkpoint-epoch1-step*"))[0]
    resumed = make_trainer(config, resume=path)
    resumed.train()
    assert resumed.last_log == trainer.last_log
    assert "val_all_MulticlassAccuracy" in trainer.last_log


def test_two_metrics_of_one_name_are_refused() -> None:
    one = torchmetrics.MetricCollection([torchmetrics.Accuracy(**TASK)])
    with pytest.raises(UserError, match="two metrics are named 'MulticlassAccuracy'"):
        MetricSet([one, one.clone()])
