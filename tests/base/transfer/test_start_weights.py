"""Start weights: read safely, matched by name and shape, and reported."""

from __future__ import annotations

import logging
import os

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from base.transfer.options import Head, TransferOptions
from base.transfer.start_weights import get_prefixes, match_weights, read_weights, rename_weights
from base.transfer.transfer import Transfer
from tests.helpers import make_trainer, small_config
from utils.errors import UserError


class Net(nn.Module):
    def __init__(self, classes: int = 3):
        super().__init__()
        self.features = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5))
        self.classifier = nn.Linear(5, classes)

    def forward(self, x):
        return self.classifier(self.features(x))


class Evil:
    def __reduce__(self):
        return os.system, ("touch hacked",)


def start(model, **options):
    """Prepares a model that starts from a file's weights."""
    transfer = Transfer(TransferOptions(**options), logging.getLogger("transfer"))
    transfer.prepare_model(model, None, resuming=False)


@pytest.mark.parametrize("prefix", ["", "module.", "model.backbone."])
@pytest.mark.parametrize("kind", ["pt", "pth", "safetensors", "nested"])
def test_every_kind_of_file_under_every_prefix(tmp_path, prefix, kind):
    source, model = Net(), Net()
    weights = {prefix + name: value for name, value in source.state_dict().items()}
    path = tmp_path / f"weights.{'pt' if kind == 'nested' else kind}"
    if kind == "safetensors":
        save_file(weights, path)
    else:
        torch.save({"model_state_dict": weights, "epoch": 3} if kind == "nested" else weights, path)
    start(model, init_from=str(path))
    assert all(
        torch.equal(a, b)
        for a, b in zip(source.state_dict().values(), model.state_dict().values(), strict=True)
    )


def test_a_prefix_in_the_model_is_found_too():
    model = nn.ModuleDict({"backbone": Net()})
    match = match_weights(model, Net().state_dict())
    assert (len(match.matched), match.missing, match.unused, match.fraction) == (9, [], [], 1.0)


def test_a_resumed_run_reads_no_start_weights(tmp_path):
    options = TransferOptions(init_from=str(tmp_path / "gone.pt"))
    Transfer(options, logging.getLogger("transfer")).prepare_model(Net(), None, resuming=True)


def test_tensors_that_do_not_match_are_named(tmp_path, caplog):
    weights = Net(classes=7).state_dict()
    del weights["features.0.bias"]
    torch.save(weights | {"extra.weight": torch.zeros(2)}, tmp_path / "w.pt")
    model = Net()
    before = model.classifier.weight.clone()
    with caplog.at_level(logging.INFO):
        start(model, init_from=str(tmp_path / "w.pt"))
    for line in (
        "matched       6 of 9 tensors",
        "missing       1: features.0.bias",
        "unused        1: extra.weight",
        "other shape   2: classifier.weight (7, 5) for (3, 5), classifier.bias (7,) for (3,)",
    ):
        assert line in caplog.text
    assert torch.equal(model.classifier.weight, before)


def test_too_few_matches_are_an_error(tmp_path):
    torch.save({"conv.weight": torch.zeros(2), "conv.bias": torch.zeros(1)}, tmp_path / "w.pt")
    with pytest.raises(
        UserError,
        match=r"transfer.init_from: 0 of 9 tensors of Net are in .*w.pt.*the file's are conv",
    ):
        start(Net(), init_from=str(tmp_path / "w.pt"), min_match=0.0)
    torch.save(dict(list(Net().state_dict().items())[:4]), tmp_path / "w.pt")
    with pytest.raises(UserError, match="4 of 9"):
        start(Net(), init_from=str(tmp_path / "w.pt"))
    start(Net(), init_from=str(tmp_path / "w.pt"), min_match=0.4)


def test_names_are_replaced_by_patterns():
    weights = {
        "enc.0.weight": torch.ones(1),
        "enc.1.weight": torch.ones(2),
        "head.bias": torch.ones(3),
    }
    renamed = rename_weights(
        weights, {"enc.*.weight": "features.*.w", "head.bias": "classifier.bias"}
    )
    assert list(renamed) == ["features.0.w", "features.1.w", "classifier.bias"]
    for patterns, message in (
        (
            {"encoder.*": "*"},
            r"transfer.rename.encoder.\*: matches none of the names, such as enc.0.weight",
        ),
        ({"enc.*": "*.*"}, "has more stars"),
        ({"enc.*": "same"}, "produces the name 'same' twice"),
    ):
        with pytest.raises(UserError, match=message):
            rename_weights(weights, patterns)
    assert get_prefixes(["a.b.c", "a.d"]) == ["a.", "a.b."]


@pytest.mark.parametrize(
    "name",
    [
        "evil.pt",
        "evil.pth",
        "truncated.pt",
        "truncated.safetensors",
        "empty.pt",
        "absent.pt",
        "list.pt",
    ],
)
def test_hostile_and_broken_files_are_an_error_of_one_line(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / name
    content = {"evil": {"state_dict": {"w": Evil()}}, "empty": {}, "list": [torch.zeros(1)]}
    if "truncated" in name:
        complete = tmp_path / f"complete{path.suffix}"
        weights = Net().state_dict()
        save = save_file if path.suffix == ".safetensors" else torch.save
        save(weights, complete)
        path.write_bytes(complete.read_bytes()[:300])
    elif "absent" not in name:
        torch.save(content[name.partition(".")[0]], path)
    with pytest.raises(UserError, match="^transfer.init_from: .*" + name) as caught:
        start(Net(), init_from=str(path))
    assert len(str(caught.value).splitlines()) == 1
    assert not (tmp_path / "hacked").exists()


def test_the_best_of_a_run_and_its_ema_weights(tmp_path):
    trainer = make_trainer(small_config(tmp_path, ema_decay=0.5, monitor="min val_loss"))
    trainer.train()
    weights, description = read_weights(str(tmp_path / "small/run"))
    ema, _ = read_weights(str(tmp_path / "small/run"), kind="ema")
    assert description.endswith("model_best.pt")
    assert weights.keys() == ema.keys()
    assert not torch.equal(weights["features.0.weight"], ema["features.0.weight"])
    assert torch.equal(
        ema["features.0.weight"], trainer.update.ema.module.state_dict()["features.0.weight"]
    )
    torch.save(Net().state_dict(), tmp_path / "w.pt")
    with pytest.raises(UserError, match="holds no EMA weights"):
        read_weights(str(tmp_path / "w.pt"), kind="ema")


def test_a_new_head_takes_no_start_weights(tmp_path):
    source, model = Net(), Net()
    torch.save(source.state_dict(), tmp_path / "w.pt")
    start(model, init_from=str(tmp_path / "w.pt"), head=Head(3))
    assert torch.equal(model.features[0].weight, source.features[0].weight)
    assert not torch.equal(model.classifier.weight, source.classifier.weight)
