"""Every loader that a trainer holds continues after a resume, or a warning names it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from base import BaseDataLoader
from tests.base.checkpoint.resumed_runs import check_resuming, copy_checkpoint
from tests.base.parallel.spread_runs import train
from tests.helpers import differences, load, make_trainer, small_config
from tests.ranks import in_ranks
from trainer.trainer import Trainer
from utils.errors import UserError
from utils.util import inf_loop

DATA = TensorDataset(torch.randn(50, 1, 8, 8, generator=torch.Generator().manual_seed(3)))


class Noisy(TensorDataset):
    """Its samples are random."""

    def __getitem__(self, index):
        return (super().__getitem__(index)[0] + 0.1 * torch.randn(1),)


NOISY = Noisy(*DATA.tensors)


def make_loader_with_generator():
    return DataLoader(DATA, 6, shuffle=True, generator=torch.Generator().manual_seed(1))


LOADERS = {
    "BaseDataLoader": lambda: BaseDataLoader(NOISY, 6),
    "workers": lambda: BaseDataLoader(NOISY, 6, num_workers=1),
    "DataLoader": lambda: DataLoader(NOISY, 6, shuffle=True),
    "DataLoader with a generator": make_loader_with_generator,
}


class TwoLoaders(Trainer):
    """Reads a second loader too, in ``read``."""

    loader = "BaseDataLoader"

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.hold(LOADERS[self.loader]())

    def train_step(self, batch):
        loss, output, target = super().train_step(batch)
        return loss + sum(self.model(x).square().mean() for (x,) in self.read()), output, target


class Repeated(TwoLoaders):
    def hold(self, loader):
        self.second = inf_loop(loader)

    def read(self):
        return [next(self.second), next(self.second)]


class RepeatedTorch(Repeated):
    loader = "DataLoader"


class RepeatedGenerator(Repeated):
    loader = "DataLoader with a generator"


class RepeatedByWorkers(Repeated):
    loader = "workers"


class InContainers(TwoLoaders):
    """Two loaders, at different rates."""

    def hold(self, loader):
        self.more = {"a": [loader], "b": SimpleNamespace(it=inf_loop(BaseDataLoader(NOISY, 7)))}
        self.rounds = (inf_loop(self.more["a"][0]),)

    def read(self):
        batches = [next(self.more["b"].it)]
        return batches + ([next(self.rounds[0])] if self.progress.batch % 2 else [])


class Iterating(TwoLoaders):
    """Keeps an iterator, and begins a new one at its end."""

    def hold(self, loader):
        self.second = loader
        self.it = iter(loader)

    def read(self):
        try:
            return [next(self.it)]
        except StopIteration:
            self.it = iter(self.second)
            return [next(self.it)]


class Zipped(TwoLoaders):
    """Leaves the second loader in the middle of a pass at the end of each epoch."""

    def hold(self, loader):
        self.second = loader

    def batches(self, epoch):
        for batch, extra in zip(super().batches(epoch), self.second, strict=False):
            self.extra = extra
            yield batch

    def read(self):
        return [self.extra]


class ZippedTorch(Zipped):
    loader = "DataLoader"


class IteratingTorch(Iterating):
    loader = "DataLoader"


class Probing(Zipped):
    """Reads a loader of torch between epochs only, as an evaluation does."""

    loader = "DataLoader"

    def batches(self, epoch):
        yield from super(Zipped, self).batches(epoch)
        list(self.second)

    def read(self):
        return []


class Shared(TwoLoaders):
    """Its passes disturb each other."""

    def hold(self, loader):
        self.passes = [inf_loop(loader), inf_loop(loader), inf_loop(self.data_loader)]

    def read(self):
        return [next(self.passes[0]), next(self.passes[1]), next(self.passes[2])[:1]]


KINDS = (Repeated, RepeatedTorch, RepeatedGenerator, RepeatedByWorkers, InContainers, Iterating)
KINDS += (Zipped, ZippedTorch, IteratingTorch, Probing, Shared)


@pytest.fixture
def config(tmp_path, monkeypatch):
    for kind in KINDS:
        monkeypatch.setattr(kind, "__module__", "trainer.trainer")
        monkeypatch.setattr(f"trainer.trainer.{kind.__name__}", kind, raising=False)
    config = small_config(tmp_path, save_steps=1)
    config["data_loader"]["args"]["batch_size"] = 300
    return config


@pytest.mark.parametrize("kind", [*KINDS[:7], Probing], ids=lambda kind: kind.__name__)
def test_a_second_loader_continues_at_its_batch(config, caplog, kind):
    config["trainer"] |= {"type": kind.__name__, "epochs": 2}
    check_resuming(
        lambda run_id, resume: make_trainer(config, run_id, resume), "checkpoint-*.pt", at_least=8
    )
    assert "same bits" not in caplog.text
    assert "not exact" not in caplog.text


def test_a_loader_of_torch_between_its_passes_costs_no_walk_over_all_objects(config, monkeypatch):
    config["trainer"] |= {"type": "Probing", "epochs": 1}
    trainer = make_trainer(config, "run")
    monkeypatch.setattr("base.checkpoint.held_loaders.gc", None)
    trainer.train()
    assert "generators" in str(load(trainer.checkpoint_dir / "checkpoint-epoch1.pt")["parts"])


def test_two_ranks_divide_the_batches_of_a_second_loader_and_resume(config, tmp_path):
    config["trainer"] |= {"type": "Repeated", "save_steps": None}
    in_ranks(2, train, config, "full")
    run = tmp_path / "small/full"
    before = load(run / "checkpoint-epoch2.pt")
    in_ranks(2, train, config, None, run / "checkpoint-epoch1.pt")
    assert differences(load(run / "checkpoint-epoch2.pt"), before) == []


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (ZippedTorch, "`second` is a DataLoader inside a pass, whose position is unknown"),
        (IteratingTorch, "`it` is a running iterator (_SingleProcessDataLoaderIter), which cannot"),
        (Shared, "`passes.1` is a second pass over the loader of `passes.0`"),
        (Shared, "`passes.2` is a second pass over the loader of `data_loader`"),
    ],
)
def test_a_position_that_cannot_be_saved_is_named(config, tmp_path, caplog, kind, reason):
    config["trainer"] |= {"type": kind.__name__, "epochs": 1}
    trainer = make_trainer(config, "run")
    trainer.train()
    assert caplog.text.count(f"A resumed run will not have the same bits: {reason}") == 1
    path = trainer.checkpoint_dir / "checkpoint-epoch1-step2.pt"
    make_trainer(config, resume=copy_checkpoint(path, tmp_path / "small/resumed")).train()
    assert reason in caplog.text.partition("The resume is not exact: ")[2]
    config["trainer"]["on_inexact_resume"] = "stop"
    with pytest.raises(UserError, match="the resume is not exact: `"):
        make_trainer(config, resume=path).train()


def test_full_passes_over_a_loader_of_torch_are_exact_between_epochs(config, caplog):
    config["trainer"] |= {"type": "ZippedTorch", "save_steps": None}
    check_resuming(
        lambda run_id, resume: make_trainer(config, run_id, resume), "checkpoint-*.pt", at_least=2
    )
    assert "not exact" not in caplog.text


def test_an_older_checkpoint_still_resumes(config, tmp_path, caplog):
    config["trainer"] |= {"type": "Repeated"}
    trainer = make_trainer(config, "run")
    trainer.train()
    state = load(trainer.checkpoint_dir / "checkpoint-epoch1.pt")
    del state["parts"]["held loaders"]
    path = tmp_path / "small/old/checkpoint-epoch1.pt"
    path.parent.mkdir()
    torch.save(state, path)
    make_trainer(config, resume=path).train()
    assert "The resume is not exact: the checkpoint has no position of `second`" in caplog.text


def test_a_trainer_without_a_second_loader_saves_none(config):
    trainer = make_trainer(config, "run")
    trainer.train()
    assert "held loaders" not in load(trainer.checkpoint_dir / "checkpoint-epoch2.pt")["parts"]
