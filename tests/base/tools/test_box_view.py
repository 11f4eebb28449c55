"""What reports and trackers show of a detector."""

import numpy as np
import pytest
import torch

from base.loop.collector import choose
from base.loop.task import TaskFacts
from base.tools.box_scores import match, score_classes
from base.tools.collectors.boxes import MAX_BOXES, BoxCollector
from base.tools.page import Page
from base.tools.pictures import data_uri
from base.tools.samples import Samples
from base.tools.views.boxes import BoxView
from base.tools.views.register import make_view
from data_loader.boxed_shapes import BoxedShapes

COUNT = 12


@pytest.fixture
def collector():
    """Each target is predicted, with noise; each fourth picture has a wrong box more."""
    generator, collector = torch.Generator().manual_seed(0), BoxCollector()
    for index in range(COUNT):
        _, target = BoxedShapes(COUNT)[index]
        boxes = target["boxes"] + torch.randn(target["boxes"].shape, generator=generator)
        scores = torch.rand(len(boxes), generator=generator)
        output = {"boxes": boxes, "labels": target["labels"], "scores": scores}
        if index % 4 == 0:
            wrong = {"boxes": [[0.0, 0, 96, 96]], "labels": [1], "scores": [0.95]}
            output = {key: torch.cat([output[key], torch.tensor(wrong[key])]) for key in output}
        collector.add([output], [target], 1)
    return collector


@pytest.fixture
def view(collector):
    loader = torch.utils.data.DataLoader(BoxedShapes(COUNT), collate_fn=list)
    return make_view(collector, Samples(loader))


def test_boxes_are_collected_by_their_form():
    output = [{"boxes": torch.rand(1, 4), "labels": torch.ones(1), "scores": torch.ones(1)}]
    target = [{"boxes": torch.empty(0, 4), "labels": torch.empty(0)}]
    assert isinstance(choose(output, target, TaskFacts()), BoxCollector)
    assert choose(output, [{"masks": torch.ones(1)}], TaskFacts()) is None


def test_boxes_of_a_picture_are_limited_and_crowds_are_left_out():
    collector = BoxCollector()
    many = {"boxes": torch.rand(300, 4), "labels": torch.ones(300), "scores": torch.rand(300)}
    target = {"boxes": torch.rand(2, 4), "labels": torch.ones(2), "iscrowd": torch.tensor([0, 1])}
    collector.add([many], [target], 1)
    (boxes,) = collector.list_boxes()
    assert boxes.predicted[:, 5].equal(many["scores"].sort(descending=True).values[:MAX_BOXES])
    assert len(match(boxes).target) == 1


def test_pass_with_too_many_numbers_is_not_kept(collector):
    small = BoxCollector(TaskFacts(limit=4))
    output = [{"boxes": torch.rand(1, 4), "labels": torch.ones(1), "scores": torch.ones(1)}]
    small.add(output, [{"boxes": torch.rand(1, 4), "labels": torch.ones(1)}], 1)
    assert len(small) == 0


def test_average_precision_is_that_of_coco(collector):
    pytest.importorskip("pycocotools")
    from torchmetrics.detection import MeanAveragePrecision

    metric = MeanAveragePrecision(class_metrics=True, iou_thresholds=[0.5])
    for boxes in collector.list_boxes():
        predicted = boxes.predicted
        output = {"boxes": predicted[:, :4], "labels": predicted[:, 4].int()}
        target = {"boxes": boxes.target[:, :4], "labels": boxes.target[:, 4].int()}
        metric.update([output | {"scores": predicted[:, 5]}], [target])
    expected = metric.compute()
    scores = score_classes([match(boxes) for boxes in collector.list_boxes()])
    assert [*scores] == expected["classes"].tolist()
    found = [score.ap for score in scores.values()]
    assert found == pytest.approx(expected["map_per_class"].tolist(), abs=1e-6)


def test_ranks_are_merged(collector):
    halves = [BoxCollector(), BoxCollector()]
    for half, part in zip(halves, (slice(6), slice(6, None)), strict=True):
        for boxes in collector.list_boxes()[part]:
            output = {"boxes": boxes.predicted[:, :4], "labels": boxes.predicted[:, 4]}
            target = {"boxes": boxes.target[:, :4], "labels": boxes.target[:, 4]}
            half.add([output | {"scores": boxes.predicted[:, 5]}], [target], 1)
    merged = BoxCollector().merge([half.state_dict() for half in halves])
    assert len(merged) == COUNT
    for boxes, expected in zip(merged.list_boxes(), collector.list_boxes(), strict=True):
        assert boxes.predicted.equal(expected.predicted)


def test_report_shows_classes_worst_pictures_and_a_row_for_each_box(view, collector):
    assert isinstance(view, BoxView)
    assert [row["class"] for row in view.classes] == ["circle", "square", "triangle"]
    circle, square, _ = view.classes
    assert circle["precision"] < 1 == square["precision"]  # the wrong boxes are circles
    assert sum(row["support"] for row in view.classes) == sum(
        len(boxes.target) for boxes in collector.list_boxes()
    )
    header, *rows = view.list_predictions()
    assert header == ["index", "path", "class", "confidence", "x1", "y1", "x2", "y2"]
    assert len(rows) == sum(len(boxes.predicted) for boxes in collector.list_boxes())
    page = Page("a", "b")
    view.add_to(page, "")
    html = page.to_html()
    mistakes = {row: item.n_wrong + item.n_missed for row, item in enumerate(view.pictures)}
    worst = max(mistakes, key=lambda row: (mistakes[row], -row))
    _, shown = html.split("<h2>Pictures with the most mistakes</h2>")
    assert f"<figcaption>sample {worst}:" in shown.partition("</figure>")[0]
    assert html.count("<img") == COUNT
    assert any("ap50" in line for line in view.format_lines())


def test_trackers_get_a_picture_of_the_first_samples(view):
    inputs = [BoxedShapes(COUNT)[index][0] for index in range(5)]
    picture = view.draw(inputs)
    assert picture is not None
    assert picture().shape == (2 * 248, 4 * 248, 3)


def test_class_without_a_predicted_box_or_a_target_has_no_false_zero():
    collector = BoxCollector()
    boxes = torch.tensor([[0.0, 0, 9, 9]])
    output = {"boxes": boxes, "labels": torch.tensor([1]), "scores": torch.tensor([0.9])}
    collector.add([output], [{"boxes": boxes, "labels": torch.tensor([2])}], 1)
    loader = torch.utils.data.DataLoader(BoxedShapes(1), collate_fn=list)
    view = make_view(collector, Samples(loader))
    found, missed = view.classes
    assert (found["precision"], found["recall"], found["support"]) == (0, None, 0)
    assert (missed["precision"], missed["recall"], missed["support"]) == (None, 0, 1)
    assert view.format_lines()[1].split() == ["circle", "0.0000", "-", "-", "0"]
    page = Page("title", "")
    view.add_to(page, "")
    assert "1 target, 1 missed" in page.to_html()


def test_picture_with_noise_does_not_fill_a_report():
    noise = np.random.default_rng(0).integers(0, 256, (400, 400, 3), dtype=np.uint8)
    assert len(data_uri(noise, 400)) < 250_000  # a PNG has 640,000
    assert data_uri(noise[:40, :40], 400).startswith("data:image/png")
