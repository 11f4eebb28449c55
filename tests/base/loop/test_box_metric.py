"""MeanAveragePrecision as a metric of a config."""

import io

import pytest
import torch
from torchvision.tv_tensors import BoundingBoxes

from base.loop.metrics import MetricSet
from config.read.tree import ConfigError
from tests.helpers import make_trainer, small_config

pytest.importorskip("pycocotools")
from torchmetrics.detection import MeanAveragePrecision


def make_batch(seed, counts=(2, 0, 3), classes=2, masks=False):
    """A batch of pictures whose first box is right, and the number of boxes of each."""
    generator = torch.Generator().manual_seed(seed)
    outputs, targets = [], []
    for count in counts:
        corners = torch.randint(0, 20, (count, 2), generator=generator).float()
        boxes = torch.cat([corners, corners + 8], dim=1)
        labels = torch.randint(1, classes + 1, (count,), generator=generator)
        scores = torch.rand(count, generator=generator)
        output = {"boxes": boxes + 0.5, "labels": labels.clone(), "scores": scores}
        output["labels"][1:] = 1
        boxes = BoundingBoxes(boxes, format="XYXY", canvas_size=(32, 32))
        target = {"boxes": boxes, "labels": labels, "file": "a.png"}
        if masks:
            output["masks"] = torch.rand(count, 1, 32, 32, generator=generator)
            target["masks"] = output["masks"][:, 0] > 0.5
        outputs.append(output)
        targets.append(target)
    return outputs, targets


def evaluate(batches, metrics):
    for outputs, targets in batches:
        metrics.add_batch(None, outputs, targets, (outputs, targets))
    return metrics


def make_set(name=None, labels=("background", "cat", "dog"), **options):
    metric = MeanAveragePrecision(**options)
    if name:
        metric.__name__ = name
    metrics = MetricSet([metric])
    metrics.labels = labels
    return metrics


def test_only_numbers_with_a_value_are_logged_by_their_keys():
    numbers = evaluate([make_batch(0)], make_set()).result()
    assert {"map", "map_50", "map_75", "map_small", "mar_1", "mar_10", "mar_100"} <= numbers.keys()
    assert not {"map_large", "mar_large", "classes", "map_per_class"} & numbers.keys()
    assert all(0 <= value <= 1 for value in numbers.values())


def test_classes_have_their_names():
    numbers = evaluate([make_batch(0)], make_set(class_metrics=True)).result()
    assert {"map_per_class_cat", "map_per_class_dog", "mar_100_per_class_dog"} <= numbers.keys()
    numbers = evaluate([make_batch(0)], make_set(class_metrics=True, labels=())).result()
    assert {"map_per_class_1", "map_per_class_2"} <= numbers.keys()


@pytest.mark.parametrize(
    ("name", "expected"), [("box", {"box_map", "box_mar_1"}), ("map", {"map", "map_mar_1"})]
)
def test_name_of_the_config_comes_first(name, expected):
    numbers = evaluate([make_batch(0)], make_set(name, extended_summary=True)).result()
    assert expected <= numbers.keys()
    assert all(key.startswith(name) for key in numbers)


def test_without_targets_nothing_is_logged():
    assert evaluate([make_batch(0, (0, 0))], make_set()).result() == {}


@pytest.mark.parametrize("kind", ["bbox", ("bbox", "segm")])
def test_state_survives_a_checkpoint_and_is_merged_over_ranks(kind):
    batches = [make_batch(seed, masks=kind != "bbox") for seed in range(4)]
    expected = evaluate(batches, make_set(iou_type=kind)).result()
    file = io.BytesIO()
    torch.save(evaluate(batches[:2], make_set(iou_type=kind)).state_dict(), file)
    file.seek(0)
    resumed = make_set(iou_type=kind)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    assert evaluate(batches[2:], resumed).result() == expected
    ranks = [evaluate(batches[rank::2], make_set(iou_type=kind)) for rank in range(2)]
    merged = make_set(iou_type=kind)  # a rank without a sample
    states = [item.state_dict() for item in (merged, *ranks)]
    merged.load_state_dict(merged.merge_states(states))
    assert merged.means() == pytest.approx(expected)


def test_missing_library_names_the_command_that_installs_it(monkeypatch, tmp_path):
    mean_ap = pytest.importorskip("torchmetrics.detection.mean_ap")
    for name in ("_PYCOCOTOOLS_AVAILABLE", "_FASTER_COCO_EVAL_AVAILABLE"):
        monkeypatch.setattr(mean_ap, name, False)
    config = small_config(tmp_path)
    config["metrics"] = [{"type": "torchmetrics.detection.MeanAveragePrecision"}]
    with pytest.raises(ConfigError, match=r"needs pycocotools: pip install -e '.\[detection\]'"):
        make_trainer(config)
