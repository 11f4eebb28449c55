"""The output layer is found, replaced by one of the same kind, and compared with the data."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import nn
from torch.utils.data import TensorDataset

from base.transfer.head import check_num_classes, find_head, replace_head
from base.transfer.options import Head
from tests.base.transfer.models import small_net
from utils.errors import UserError


def test_a_convolution_as_head_keeps_its_geometry():
    model = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 5, 3, stride=2, padding=1, bias=False))
    assert replace_head(model, Head(7)) == "1"
    assert model[1].weight.shape == (7, 8, 3, 3)
    assert (model[1].stride, model[1].padding, model[1].bias) == ((2, 2), (1, 1), None)


def test_a_wrong_name_is_an_error_with_the_nearest_layer():
    with pytest.raises(
        UserError, match=r"transfer.head.name: 'clasifier.1' .*did you mean 'classifier.1'"
    ):
        find_head(torchvision.models.squeezenet1_0(), "clasifier.1")
    with pytest.raises(UserError, match=r"'0\.1' is not a Linear or Conv2d layer"):
        find_head(small_net(), "0.1")
    with pytest.raises(UserError, match="has no Linear or Conv2d layer"):
        find_head(nn.Flatten())


class Named(TensorDataset):
    classes = ("ants", "bees")


def test_the_head_must_have_as_many_outputs_as_the_data_has_classes():
    labels = torch.tensor([0, 1, 2])
    key = "transfer.head.num_classes"
    check_num_classes(Head(2), Named(labels))
    with pytest.raises(UserError, match=rf"^{key}: 3, but the data has 2 classes \(ants, bees\)"):
        check_num_classes(Head(3), Named(labels))
    check_num_classes(Head(4), TensorDataset(labels, labels))
    with pytest.raises(UserError, match=rf"^{key}: 2, but the data has 3 classes"):
        check_num_classes(Head(2), TensorDataset(labels, labels))


@pytest.mark.parametrize("dataset", [object(), TensorDataset(torch.rand(3)), [(0, "a")]])
def test_a_dataset_without_classes_is_not_checked(dataset):
    check_num_classes(Head(1), dataset)
