"""The batches of detectors: lists of pictures, and targets with any number of boxes."""

import pytest
import torch
from torchvision.models.detection.roi_heads import RoIHeads

from base import BaseDataLoader
from base.data.boxes import explain_targets, find_mistake, list_traps
from base.data.collate import explain
from base.data.lists import ListCollate
from data_loader.boxed_shapes import BoxedShapes
from model.detector import SmallFCOS
from utils.batch import count_samples
from utils.errors import UserError


def make_target(boxes=((1, 2, 5, 6),), labels=(1,), dtype=torch.float32):
    return {"boxes": torch.tensor(boxes, dtype=dtype), "labels": torch.tensor(labels)}


def test_pictures_of_several_sizes_and_targets_become_lists():
    empty = {"boxes": torch.empty(0, 4), "labels": torch.empty(0, dtype=torch.int64)}
    samples = [(torch.rand(3, 4, 5), make_target()), (torch.rand(3, 6, 7), empty)]
    images, targets = batch = ListCollate()(samples)
    assert [image.shape for image in images] == [(3, 4, 5), (3, 6, 7)]
    assert targets == [samples[0][1], empty]
    assert count_samples(None, targets, None, batch) == 2
    named = ListCollate()([{"images": image, "targets": target} for image, target in samples])
    assert named == {"images": images, "targets": targets}


def test_number_of_samples_is_that_of_the_lists():
    images = [torch.rand(3, 4, 4)] * 2
    targets = [make_target([[0, 0, 1, 1]] * 3, [1] * 3), make_target()]
    assert count_samples(None, targets, None, (images, targets)) == 2
    assert count_samples(3, targets, None, (images, targets)) == 2  # one was left out


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (make_target([[5, 2, 1, 6]]), r"has the box \(5, 2, 1, 6\); a box has x1 < x2"),
        (make_target([[5, 2, 1, 6]]), r"\(x, y, width, height\), as in COCO: .*box_convert"),
        (make_target([[1, 2, 1, 6]]), r"\(1, 2, 1, 6\) without an area"),
        (make_target(labels=(-1,)), "has the label -1; classes count from 1"),
        (make_target([[1, 2, float("nan"), 6]]), "x1 < x2"),
        (make_target(dtype=torch.float64), "boxes of float64; give float32"),
        (make_target(labels=(1.0,)), "labels of float32; give int64"),
        (make_target(labels=(1, 2)), "1 boxes and labels of shape"),
        (make_target([1, 2, 3, 4]), r"shape \(4,\); give \(n, 4\)"),
        (make_target([], []), r"\(0, 4\) without an object"),
        ({"boxes": torch.rand(1, 4)}, "no labels"),
        (torch.rand(4), "is a Tensor"),
    ],
)
def test_wrong_target_is_an_error_of_the_data(target, words):
    samples = [(torch.rand(3, 4, 4), make_target()), (torch.rand(3, 4, 4), target)]
    with pytest.raises(UserError, match=f"target of picture 1 of a batch .*{words}"):
        ListCollate()(samples)


@pytest.mark.parametrize(("batch_size", "workers"), [(4, 0), (1, 0), (3, 1)])
def test_error_names_the_sample_with_the_wrong_box(batch_size, workers):
    samples = [(torch.rand(3, 4, 4), make_target()) for _ in range(8)]
    samples[5] = (torch.rand(3, 4, 4), make_target([[1, 2, 1, 6]]))
    loader = BaseDataLoader(
        samples, batch_size, shuffle=True, num_workers=workers, collate_fn=ListCollate()
    )
    with pytest.raises(UserError) as error:
        list(loader)
    (line,) = str(error.value).splitlines()[-1:]
    words = "data_loader: sample 5 of the dataset: the target has the box (1, 2, 1, 6) without"
    assert words in line


def test_lists_without_boxes_have_no_mistake():
    assert find_mistake([torch.rand(2), 3]) is None
    assert find_mistake("text") is None


def test_samples_with_different_fields_are_an_error():
    with pytest.raises(UserError, match="1 of 2 samples have no field 'targets'"):
        ListCollate()([{"images": 1, "targets": 2}, {"images": 1}])


def test_default_batches_of_boxes_name_the_collate_function():
    samples = [BoxedShapes(2)[index] for index in range(2)]
    assert "collate_fn: ListCollate" in (explain(samples) or "")


def test_error_of_a_detector_is_explained_by_its_targets():
    model = SmallFCOS(num_classes=3, width=32, image_size=32)
    error = IndexError("index 3 is out of bounds for dimension 2 with size 3")
    reason = explain_targets(error, model, [make_target(labels=(3,))]) or ""
    assert "labels are 3 to 3; num_classes must be larger" in reason
    assert "not a Tensor" in (explain_targets(error, model, torch.zeros(2)) or "")
    assert explain_targets(error, torch.nn.Linear(1, 1), torch.zeros(2)) is None


def test_normalised_boxes_and_objects_as_background_are_traps():
    fcos = SmallFCOS(num_classes=3, width=32, image_size=32)
    with_background = torch.nn.Sequential(RoIHeads(*[None] * 3, 0.5, 0.5, 8, 0.5, None, 0, 0.5, 9))
    empty = {"boxes": torch.empty(0, 4), "labels": torch.empty(0, dtype=torch.int64)}
    small = make_target([[0, 0.5, 0.5, 1]])
    assert list_traps(fcos, [empty, make_target(), small]) == []
    (trap,) = list_traps(fcos, [empty, small])
    assert "lie between 0 and 1; give pixels" in trap
    as_background = [make_target(), empty, make_target(labels=(0,))]
    (trap,) = list_traps(with_background, as_background)
    assert "label 0 are learned as background" in trap
    assert list_traps(fcos, as_background) == []  # it learns class 0 like any other
    assert list_traps(with_background, [torch.rand(3, 4, 4)]) == []
    assert list_traps(with_background, [{"boxes": [[0, 0, 1, 1]]}]) == []


def test_shapes_depend_on_the_seed_and_the_index():
    image, target = BoxedShapes(8, seed=1)[3]
    again, boxes = BoxedShapes(100, seed=1)[3]
    assert image.equal(again)
    assert target["boxes"].equal(boxes["boxes"])
    assert not image.equal(BoxedShapes(8, seed=2)[3][0])
    assert any(len(BoxedShapes(20)[index][1]["boxes"]) == 0 for index in range(20))
    assert all(find_mistake([BoxedShapes(20)[index][1]]) is None for index in range(20))
