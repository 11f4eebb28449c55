"""The U-Net keeps the size of a picture."""

from __future__ import annotations

import pytest
import torch

from data_loader.shapes import IGNORE_INDEX, ShapesDataLoader
from model.unet import UNet
from utils.errors import UserError


@pytest.mark.parametrize("size", [(8, 8), (13, 9), (31, 64)])
def test_the_logits_have_the_size_of_the_picture(size: tuple[int, int]) -> None:
    model = UNet(4, width=2, depth=3).eval()
    assert model(torch.rand(2, 3, *size)).shape == (2, 4, *size)


@pytest.mark.parametrize("shape", [(1, 1, 16, 16), (1, 3, 16, 7), (3, 16, 16)])
def test_other_inputs_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match="UNet takes"):
        UNet(4, width=2)(torch.rand(shape))


def test_a_flip_turns_the_picture_and_its_mask_alike() -> None:
    plain = ShapesDataLoader(augment=False, size=16).dataset
    turned = ShapesDataLoader(size=16).dataset
    flips = [(), (1,), (2,), (1, 2)]
    found = set()
    for index in range(8):
        picture, mask = plain[index]
        other, other_mask = turned[index]
        (match,) = [dims for dims in flips if torch.equal(picture.flip(dims), other)]
        assert torch.equal(mask[None].flip(match)[0], other_mask)
        found.add(match)
    assert len(found) > 1
    assert IGNORE_INDEX in mask
