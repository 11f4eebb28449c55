"""A view in a state is saved without the rest of its storage, and shared memory stays shared."""

from __future__ import annotations

import io

import pytest
import torch

from base.checkpoint.plain import make_saveable
from base.checkpoint.snapshot import copy_to_cpu


@pytest.fixture(params=["saved at once", "saved in the background"])
def write(request):
    """Saves a state, and returns the state that was read and the size of the file."""

    def save(state):
        saved = make_saveable({"parts": {}, **state})
        if request.param == "saved in the background":
            saved = copy_to_cpu(saved)
        file = io.BytesIO()
        torch.save(saved, file)
        size = file.tell()
        file.seek(0)
        return torch.load(file, weights_only=True), size

    return save


def test_a_view_does_not_drag_its_storage_into_the_file(write):
    """https://github.com/pytorch/pytorch/issues/40157"""
    table = torch.arange(100_000.0).view(1000, 100)
    state, size = write({"rows": table[3:5], "column": table[:, 7], "in_a_list": [table[9]]})
    assert size < 20_000
    assert torch.equal(state["rows"], table[3:5])
    assert torch.equal(state["column"], table[:, 7])
    assert torch.equal(state["in_a_list"][0], table[9])


def test_views_of_one_memory_are_of_one_memory_after_loading(write):
    table = torch.arange(100_000.0)
    embedding = table[:500]
    state, size = write({"embed": embedding, "decoder": embedding, "part": table[100:200]})
    assert size < 5_000
    state["embed"].fill_(-1)
    assert (state["decoder"] == -1).all()
    assert (state["part"] == -1).all()


def test_tied_tensors_are_in_the_file_once(write):
    weight = torch.zeros(10_000)
    state, size = write({"embed": weight, "decoder": weight})
    assert size < 45_000
    assert state["embed"].data_ptr() == state["decoder"].data_ptr()


def test_a_storage_that_is_in_use_is_not_copied():
    flat = torch.zeros(1000)  # as the weights of an LSTM on an accelerator
    state = {"parts": {}, "a": flat[:400], "b": flat[400:], "c": torch.zeros(5)}
    saved = make_saveable(state)
    assert [saved[key] is state[key] for key in "abc"] == [True] * 3


def test_a_snapshot_reuses_memory_once(write):
    first = torch.zeros(4)
    earlier = copy_to_cpu({"a": first, "b": first})
    later = copy_to_cpu({"a": torch.zeros(4), "b": torch.ones(4)}, earlier)
    assert (later["a"].sum(), later["b"].sum()) == (0, 4)


def test_empty_expanded_and_sparse_tensors_do_not_drag_it_either(write):
    table = torch.arange(100_000.0).view(1000, 100)
    indices = torch.tensor([[0, 1]])
    sparse = torch.sparse_coo_tensor(indices, table[:2, 0], (10,), check_invariants=True)
    state, size = write({"empty": table[:0], "row": table[3].expand(1000, 100), "sparse": sparse})
    assert size < 10_000
    assert state["empty"].shape == (0, 100)
    assert torch.equal(state["row"], table[3].expand(1000, 100))
    assert torch.equal(state["sparse"].to_dense(), sparse.to_dense())
