"""The same numbers, whatever the number of processes."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import threading
import time

import pytest
import torch
import torchmetrics
from torch import nn
from torch.utils.data import DataLoader, DistributedSampler, IterableDataset

from base.base_data_loader import BaseDataLoader
from base.checkpoint import manager as saving
from base.data import sampler
from base.loop.evaluate import evaluate
from base.loop.metrics import MetricSet
from base.parallel.strategy import divided
from tests.helpers import differences, load, make_trainer, small_config
from tests.ranks import in_ranks
from tests.torture.harness import times
from utils import distributed as parallel
from utils.checkpoints import list_checkpoints
from utils.errors import UserError


def table_config(tmp_path, **trainer):
    """A model without batch norm and dropout, whose numbers no rank may change: 364 samples, 91 to validate on."""
    return small_config(tmp_path, **trainer) | {
        "arch": {"type": "mlp.MLP", "args": {"in_features": 30, "hidden": [16]}},
        "data_loader": {
            "type": "breast_cancer.BreastCancerDataLoader",
            "args": {"batch_size": 32, "validation_split": 0.2},
        },
        "loss": {"type": "BCEWithLogitsLoss"},
        "metrics": ["binary_accuracy"],
    }


def lines_of(folder):
    lines = [json.loads(line) for line in (folder / "log/metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def trained(config, run_id, resume=None):
    trainer = make_trainer(config, run_id, resume)
    trainer.train()
    return trainer.model.module is not None if parallel.world_size() > 1 else True


PARTS = {
    "plain": ({}, {}),
    "accumulating": ({"accumulation_steps": 3}, {"batch_size": 50}),
    "clipping, with an average": ({"grad_clip_norm": 0.1, "ema_decay": 0.9}, {"batch_size": 101}),
    "by the step": ({"warmup_steps": 5, "accumulation_steps": 2}, {"batch_size": 64}),
    "epochs of a length": ({"len_epoch": 7}, {}),
    "two workers": ({}, {"num_workers": 2}),
    "a last batch of one": ({}, {"batch_size": 363}),
    "a last batch of one in validation": ({}, {"validation_split": 33}),
}


@pytest.mark.parametrize("case", PARTS)
def test_the_loss_curve_is_that_of_one_process(tmp_path, case):
    trainer, loader = PARTS[case]
    config = table_config(tmp_path, **{"epochs": 2, "monitor": "min val_loss"} | trainer)
    config["data_loader"]["args"] |= loader
    trained(config, "1")
    one = lines_of(tmp_path / "small/1")
    weights = load(tmp_path / "small/1/model_best.pt")["state_dict"]
    for ranks in (2, 4):
        in_ranks(ranks, trained, config, str(ranks))
        many = lines_of(tmp_path / f"small/{ranks}")
        assert [line.keys() for line in many] == [line.keys() for line in one]
        for line, expected in zip(many, one, strict=True):
            assert line == pytest.approx(expected, rel=1e-4, abs=1e-5)
        found = load(tmp_path / f"small/{ranks}/model_best.pt")["state_dict"]
        assert all(
            torch.allclose(found[name], weights[name], rtol=1e-3, atol=1e-5) for name in weights
        )


def test_gradients_are_exchanged_at_the_steps_only(tmp_path):
    config = table_config(tmp_path, epochs=1, accumulation_steps=3)
    assert in_ranks(2, exchanges, config) == [[12 // 3] * 2] * 2


def exchanges(config):
    """How often the two ranks exchange gradients in 12 batches, by the flag that the forward pass sees; and steps."""
    seen = []
    trainer = make_trainer(config)
    trainer.model.register_forward_pre_hook(
        lambda *_: seen.append(trainer.model.require_backward_grad_sync)
    )
    trainer.train()
    return [sum(seen), trainer.update.steps]


# -- every sample once --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ranks", range(1, 6))
def test_the_parts_of_the_batches_are_the_batches(monkeypatch, ranks):
    monkeypatch.setattr(sampler, "world_size", lambda: ranks)
    for length in range(1, 51):
        for size in (1, 3, 7, 16):
            whole = [list(batch) for batch in batches_of(length, size, monkeypatch, 0, 1)]
            parts = [batches_of(length, size, monkeypatch, rank, ranks) for rank in range(ranks)]
            assert [len(part) for part in parts] == [len(whole)] * ranks  # in step
            for place, batch in enumerate(whole):
                shares = [part[place].share for part in parts]
                found = [part[place] for part in parts if part[place].share]
                assert [index for part in found for index in part] == batch
                assert sum(shares) == pytest.approx(ranks)
                assert [len(part) * ranks / len(batch) for part in found] == pytest.approx(
                    [s for s in shares if s]
                )
            alone = [
                batches_of(length, size, monkeypatch, rank, ranks, in_step=False)
                for rank in range(ranks)
            ]
            assert sorted(index for part in alone for batch in part for index in batch) == list(
                range(length)
            )


class Batch(list):
    share = 1.0


def batches_of(length, size, monkeypatch, rank, ranks, in_step=True):
    monkeypatch.setattr(sampler, "rank", lambda: rank)
    monkeypatch.setattr(sampler, "world_size", lambda: ranks)
    batches = sampler.EpochBatches(sampler.EpochSampler(range(length), True), size, False, 3)
    batches.in_step, batches.epoch = in_step, 2
    found = []
    for place, indices in enumerate(batches):
        found.append(Batch(indices))
        found[-1].share = batches.share(place)
    return found


def test_ranks_augment_by_numbers_of_their_own_and_the_main_one_by_those_it_has_alone(monkeypatch):
    def seeds(rank, ranks):
        monkeypatch.setattr(sampler, "rank", lambda: rank)
        monkeypatch.setattr(sampler, "world_size", lambda: ranks)
        return [
            batch.seed
            for batch in sampler.EpochBatches(sampler.EpochSampler(range(8), True), 4, False, 3)
        ]

    assert seeds(0, 2) == seeds(0, 1)
    assert not set(seeds(0, 2)) & set(seeds(1, 2))


class Echo(nn.Module):
    """Its output is its input, so that a metric sees which samples there were."""

    def forward(self, x):
        return x


def evaluated(lengths, batch_size):
    results = []
    for length in lengths:
        data = [
            (torch.tensor([index / length, 1 - index / length]), index % 2)
            for index in range(length)
        ]
        loader = BaseDataLoader(data, batch_size, shuffle=True).evaluating()
        metrics = [
            first,
            torchmetrics.AUROC(task="multiclass", num_classes=2),
            torchmetrics.CatMetric(),
        ]
        metrics += [
            torchmetrics.ConfusionMatrix(task="multiclass", num_classes=2),
            torchmetrics.MaxMetric(),
        ]
        found = MetricSet([first, *map(OfOutputs, metrics[1:])])
        result = evaluate(
            Echo(), loader, lambda output, _: output[:, 0].mean(), found, torch.device("cpu")
        )
        results.append(result | {"samples": sum(parallel.all_gather(found.n_samples))})
    return results


def first(output, target):
    return output[:, 0].mean()


class OfOutputs(torchmetrics.Metric):
    """A number of each of torchmetrics' kinds of state: sums, tensors and lists of all samples, extremes."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.__name__ = inner, type(inner).__name__

    def update(self, output, target):
        if isinstance(self.inner, torchmetrics.CatMetric | torchmetrics.MaxMetric):
            self.inner.update(output[:, 0])
        else:
            self.inner.update(output, target)

    def compute(self):
        value = self.inner.compute()
        weights = torch.arange(1.0, 1 + value.numel()).reshape(value.shape)
        return (value.flatten().sort().values * weights.flatten()).sum()


@pytest.mark.parametrize("ranks", [2, 3, 5])
def test_an_evaluation_is_that_of_one_process_for_any_number_of_samples(ranks):
    lengths = [1, 2, 3, 4, 7, 16, 31]
    expected = evaluated(lengths, 8)
    for found in in_ranks(ranks, evaluated, lengths, 8):
        for mine, one in zip(found, expected, strict=True):
            assert mine.keys() == one.keys()
            assert mine == pytest.approx(one, abs=1e-6)
            assert mine["samples"] == one["samples"]
            assert mine["MulticlassConfusionMatrix"] == one["MulticlassConfusionMatrix"]


def test_an_evaluation_of_nothing_is_told():
    with pytest.raises(AssertionError, match="nothing to evaluate"):
        in_ranks(2, evaluate, Echo(), [], None, MetricSet([]), torch.device("cpu"))


@pytest.mark.parametrize("args", [{"sampler": "distributed"}, {"stream": True}])
def test_what_cannot_be_divided_is_told(args):
    with pytest.raises(AssertionError, match="does not go with several processes"):
        in_ranks(2, undividable, args)


def undividable(args):
    data = [1, 2, 3]
    if "stream" in args:
        BaseDataLoader(Stream(), 2)
    else:
        BaseDataLoader(data, 2, sampler=DistributedSampler(data))


def test_a_loader_of_torch_is_refused_among_ranks_only(monkeypatch):
    loader = DataLoader([1, 2, 3])
    assert divided(loader, "data_loader", torch.device("cpu")) is loader
    monkeypatch.setattr(parallel, "world_size", lambda: 2)
    with pytest.raises(
        UserError, match="data_loader: a DataLoader cannot be divided among processes; use"
    ):
        divided(loader, "data_loader", torch.device("cpu"))


class Stream(IterableDataset):
    def __iter__(self):
        return iter([1, 2, 3])


# -- what the ranks do alike -------------------------------------------------------------------------------------


def test_dropout_draws_other_numbers_on_every_rank_and_all_start_from_the_same_weights(tmp_path):
    config = table_config(tmp_path)
    config["arch"]["args"]["dropout"] = 0.5
    (one, first_weights), (other, second_weights) = in_ranks(2, draws, config)
    assert one != other
    assert first_weights == second_weights


def draws(config):
    trainer = make_trainer(config)
    return torch.rand(4).tolist(), [
        parameter.sum().item() for parameter in trainer.model.parameters()
    ]


@pytest.mark.parametrize(("accumulation", "bad"), [(1, 0), (1, 1), (3, 0), (3, 2)])
def test_a_batch_whose_loss_is_not_finite_on_one_rank_is_skipped_on_all(
    tmp_path, accumulation, bad
):
    config = table_config(tmp_path, epochs=1, nan_policy="skip", accumulation_steps=accumulation)
    found = in_ranks(2, skipping, config, bad)
    alone = skipping(config, bad)
    assert [skipped for skipped, _ in found] == [1, 1]
    assert found[0][1] == found[1][1]
    assert found[0][1] == pytest.approx(alone[1], rel=1e-4, abs=1e-5)


def skipping(config, bad):
    trainer = make_trainer(config, f"run{parallel.world_size()}")
    criterion, calls = trainer.criterion, []

    def spoiled(output, target):
        calls.append(1)
        spoil = (
            float("inf")
            if len(calls) == bad + 1 and parallel.rank() == parallel.world_size() - 1
            else 1
        )
        return criterion(output, target) * spoil

    trainer.criterion = spoiled
    trainer.train()
    return trainer.update.skipped, [
        parameter.sum().item() for parameter in trainer.model.parameters()
    ]


@pytest.mark.parametrize("place", ["training", "validation"])
def test_a_stop_asked_of_one_rank_stops_all_at_the_same_place(tmp_path, place):
    found = in_ranks(2, stopping, table_config(tmp_path, epochs=3), place)
    assert {status for status, *_ in found} == {143}
    assert len({tuple(where) for _, *where in found}) == 1
    assert len(list((tmp_path / "small/run").glob("checkpoint*.pt"))) == 1


def stopping(config, place):
    trainer = make_trainer(config)
    forward = trainer.forward
    calls = []

    def counting(model, batch):
        calls.append(model.training)
        if parallel.rank() == 1 and calls.count(place == "training") == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return forward(model, batch)

    trainer.forward = counting
    if place == "validation":
        type(trainer).forward = staticmethod(counting)
    trainer.train()
    return trainer.stop.status, trainer.epoch, trainer.place, trainer.update.steps


# -- resuming ----------------------------------------------------------------------------------------------------


def state_of(folder):
    return load(max(folder.glob("checkpoint-epoch?.pt")))


@pytest.mark.parametrize("trainer", [{}, {"accumulation_steps": 3, "ema_decay": 0.9}])
def test_two_ranks_go_on_to_the_same_bits_from_everywhere(tmp_path, trainer):
    config = table_config(tmp_path, **{"epochs": 2, "save_steps": 2} | trainer)
    config["arch"]["args"]["dropout"] = 0.3
    config["data_loader"]["args"]["batch_size"] = 73
    config["metrics"].append({"type": "AUROC", "args": {"task": "binary", "validate_args": False}})
    in_ranks(2, trained, config, "full")
    places = sorted((tmp_path / "small/full").glob("checkpoint-*.pt"))[:-1]
    assert len(places) >= 2
    for path in places:
        folder = tmp_path / "small" / path.stem
        (folder / "log").mkdir(parents=True)
        shutil.copy(path, folder)
        shutil.copy(tmp_path / "small/full/log/metrics.jsonl", folder / "log")
        in_ranks(2, trained, config, None, folder / path.name)
        assert differences(state_of(folder), state_of(tmp_path / "small/full")) == [], path.name
        assert lines_of(folder) == lines_of(tmp_path / "small/full")


@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2), (2, 3)])
def test_another_number_of_ranks_goes_on_at_the_same_place(tmp_path, before, after, caplog):
    config = table_config(tmp_path, epochs=2, save_steps=4)
    in_ranks(before, trained, config, "full")
    folder = tmp_path / "small/other"
    (folder / "log").mkdir(parents=True)
    shutil.copy(tmp_path / "small/full/checkpoint-epoch1-step8.pt", folder)
    in_ranks(after, trained, config, None, folder / "checkpoint-epoch1-step8.pt")
    assert (
        f"not the same bits as without a stop: processes {before} -> {after}"
        in (folder / "log/info.log").read_text()
    )
    for line, expected in zip(lines_of(folder), lines_of(tmp_path / "small/full"), strict=True):
        assert line == pytest.approx(expected, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("section", [{"freeze": 1, "thaw": [{"epoch": 2, "params": "*"}]}])
def test_what_is_thawed_is_exchanged_too(tmp_path, section):
    config = table_config(tmp_path, epochs=3) | {"transfer": section}
    trained(config, "1")
    in_ranks(2, trained, config, "2")
    for line, expected in zip(
        lines_of(tmp_path / "small/2"), lines_of(tmp_path / "small/1"), strict=True
    ):
        assert line == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_cached_features_are_divided(tmp_path):
    config = table_config(tmp_path, epochs=2) | {"transfer": {"freeze": 1, "cache_features": True}}
    trained(config, "1")
    in_ranks(2, trained, config, "2")
    for line, expected in zip(
        lines_of(tmp_path / "small/2"), lines_of(tmp_path / "small/1"), strict=True
    ):
        assert line == pytest.approx(expected, rel=1e-4, abs=1e-5)


# -- the section -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"type": "ddpp"}, "did you mean 'ddp'"),
        ({"type": "ddp", "args": {"num_procs": 2}}, "did you mean 'num_processes'"),
        ({"type": "ddp", "args": {"num_processes": 0}}, "num_processes=0 must lie between 1 and"),
        ({"type": "ddp", "args": {"timeout_seconds": 0}}, "timeout_seconds=0 must be above 0"),
        ({"type": "ddp", "args": {"sync_batch_norm": True}}, "not for the CPU"),
    ],
)
def test_a_mistake_in_the_section_is_told(tmp_path, section, message):
    with pytest.raises(UserError, match=message):
        make_trainer(table_config(tmp_path) | {"parallel": section})


def test_a_section_for_one_process_refuses_several(tmp_path):
    with pytest.raises(AssertionError, match="is none, but 2 processes were started"):
        in_ranks(2, make_trainer, table_config(tmp_path) | {"parallel": {"type": "none"}})


def test_ranks_that_are_killed_at_any_time_go_on_to_the_same_bits(tmp_path):
    config = table_config(tmp_path, epochs=2, save_steps=1, keep_last=2)
    config["arch"]["args"]["dropout"] = 0.3
    in_ranks(2, trained, config, "full")
    steps, kills = 24, times(30, 4)
    chance = random.Random(kills)
    for kill in range(kills):
        folder = tmp_path / f"small/killed{kill}"
        with pytest.raises((AssertionError, EOFError)):
            in_ranks(
                2,
                dying,
                config,
                folder.name,
                chance.randrange(2),
                chance.randrange(2, steps),
                chance.random(),
            )
        newest = list_checkpoints(folder)[0]
        in_ranks(2, trained, config, None, newest)
        assert differences(state_of(folder), state_of(tmp_path / "small/full")) == [], newest.name
        assert lines_of(folder) == lines_of(tmp_path / "small/full")


def dying(config, run_id, victim, step, seconds):
    """Trains with a rank that is killed so long after a step, in hundredths of a second."""
    trainer = make_trainer(config, run_id)
    after_step = trainer.after_step

    def killing():
        after_step()
        if parallel.rank() == victim and trainer.update.steps == step:
            threading.Timer(seconds / 100, os.kill, (os.getpid(), signal.SIGKILL)).start()

    trainer.after_step = killing
    trainer.train()
    time.sleep(1)


def test_a_checkpoint_that_cannot_be_written_ends_all(tmp_path, capfd):
    with pytest.raises(AssertionError, match="the disk is full") as caught:
        in_ranks(2, unwritable, table_config(tmp_path, save_steps=3))
    assert "SystemExit: 2" in str(
        caught.value
    )  # the other rank leaves in silence, with the same status


def unwritable(config):
    def save(*_):
        raise UserError("the disk is full")

    saving.save = save
    make_trainer(config).train()
