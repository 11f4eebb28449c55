"""A run that is resumed within an epoch, wherever that is, ends with the bits of one that never stopped."""

from __future__ import annotations

import json
import re
import shutil

import pytest
import torch
import torchmetrics
from torch.utils.data import IterableDataset, TensorDataset, WeightedRandomSampler

from base import BaseDataLoader
from base.checkpoint import file as checkpoint
from tests.helpers import differences, load, make_trainer, small_config
from utils.checkpoints import list_checkpoints
from utils.errors import UserError

ADAM = {"type": "Adam", "args": {"lr": 0.001}}
GAN = {"arch": {"type": "gan.GAN"}, "loss": "binary_cross_entropy_with_logits", "metrics": []}
GAN |= {"optimizer": ADAM, "discriminator_optimizer": ADAM}
CYCLE = {"lr_scheduler": {"type": "OneCycleLR", "args": {"max_lr": 0.1, "total_steps": 6}}}
PLATEAU = {"lr_scheduler": {"type": "ReduceLROnPlateau", "args": {"patience": 0}}}
VARIANTS = {
    "plain": ({}, {}),
    "accumulation": ({"accumulation_steps": 4}, {"batch_size": 100}),
    "ema and clipping": ({"ema_decay": 0.9, "grad_clip_norm": 0.5}, {}),
    "fp16": ({"precision": "fp16"}, {}),
    "shorter than the data": ({"len_epoch": 2, "epochs": 4}, {}),
    "longer than the data": ({"len_epoch": 5}, {}),
    "longer, accumulating": ({"len_epoch": 5, "accumulation_steps": 2}, {}),
    "warm-up": ({"warmup_steps": 5}, {}),
    "early stopping": ({"monitor": "max val_accuracy", "early_stop": 1, "epochs": 4}, {}),
    "two workers": ({}, {"num_workers": 2}),
    "one cycle": ({}, {}, CYCLE),
    "plateau": ({"monitor": "min val_loss", "epochs": 3}, {}, PLATEAU),
    "gan": ({"type": "gan.GanTrainer"}, {}, GAN),
    "asynchronous": ({"async_save": True, "save_period": 2}, {}),
}


def config_of(tmp_path, variant):
    trainer, loader, *rest = VARIANTS[variant]
    config = small_config(tmp_path, **{"save_steps": 1} | trainer) | (rest[0] if rest else {})
    config["data_loader"]["args"] |= {"batch_size": 480} | loader
    return config


def lines(folder):
    found = [
        json.loads(line) for line in (folder / "log" / "metrics.jsonl").read_text().splitlines()
    ]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in found]


def last(folder):
    return max(folder.glob("checkpoint-epoch?.pt"))


def check_every_place(tmp_path, make, at_least=4):
    """Resumes from each checkpoint within an epoch; ``make(run_id, resume)`` gives a trainer."""
    full = make("full", None)
    full.train()
    within = sorted(full.checkpoint_dir.glob("checkpoint-*-step*.pt"))
    assert len(within) >= at_least
    for path in within:
        folder = tmp_path / "small" / path.stem
        folder.mkdir()
        shutil.copy(path, folder)
        shutil.copytree(full.checkpoint_dir / "log", folder / "log")  # with lines to drop
        for best in full.checkpoint_dir.glob("model_best.pt"):
            shutil.copy(best, folder)
        resumed = make(None, folder / path.name)
        resumed.train()
        assert last(folder).name == last(full.checkpoint_dir).name, path.name
        assert differences(load(last(folder)), load(last(full.checkpoint_dir))) == [], path.name
        assert lines(folder) == lines(full.checkpoint_dir), path.name
    return full


@pytest.mark.parametrize("variant", VARIANTS)
def test_from_every_place(tmp_path, variant):
    config = config_of(tmp_path, variant)
    check_every_place(tmp_path, lambda run_id, resume: make_trainer(config, run_id, resume))


class Stream(IterableDataset):
    """Digits-like samples in an order of their own, some of them drawn."""

    def __init__(self, n=600):
        generator = torch.Generator().manual_seed(0)
        self.images = torch.rand(n, 1, 8, 8, generator=generator)

    def __iter__(self):
        for number, image in enumerate(self.images):
            yield image + 0.1 * torch.rand(1), number % 10


class SizedStream(Stream):
    def __len__(self):
        return len(self.images)


def weighted():
    stream = Stream(400)
    data = TensorDataset(stream.images, torch.arange(400) % 10)
    return BaseDataLoader(data, 100, sampler=WeightedRandomSampler(torch.arange(1.0, 401), 400))


LOADERS = {
    "weighted sampler": weighted,
    "iterable": lambda: BaseDataLoader(Stream(), 200, shuffle=False),
    "iterable with a length": lambda: BaseDataLoader(SizedStream(), 200, shuffle=False),
    "iterable, accumulating": lambda: BaseDataLoader(Stream(), 150, shuffle=False),
}


@pytest.mark.parametrize("name", LOADERS)
def test_from_every_place_with_other_data(tmp_path, monkeypatch, name):
    config = small_config(
        tmp_path, save_steps=1, accumulation_steps=3 if "accumulating" in name else 1
    )
    monkeypatch.setattr(
        "data_loader.data_loaders.DigitsDataLoader.split_validation", lambda self: None
    )

    def make(run_id, resume):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("config.ConfigParser.build", building(LOADERS[name]))
            return make_trainer(config, run_id, resume)

    check_every_place(tmp_path, make, at_least=2)


def building(make_loader):
    """``ConfigParser.build`` with another training loader."""
    from config import ConfigParser

    usual = ConfigParser.build
    return lambda self, slot, *args, **kwargs: (
        make_loader() if slot == "data_loader" else usual(self, slot, *args, **kwargs)
    )


def gathering(_):
    kinds = {"task": "multiclass", "num_classes": 10}
    macro = torchmetrics.Accuracy(average="macro", **kinds)
    return [
        macro,
        torchmetrics.AUROC(**kinds),
        torchmetrics.AveragePrecision(thresholds=7, **kinds),
    ]


def test_from_every_place_with_metrics_that_gather_the_epoch(tmp_path, monkeypatch):
    monkeypatch.setattr("config.ConfigParser.build_metrics", gathering)
    config = config_of(tmp_path, "plain")
    check_every_place(tmp_path, lambda run_id, resume: make_trainer(config, run_id, resume))


def stopped_in_validation(trainer, epoch, batch):
    """Asks to stop while the validation of ``epoch`` evaluates a batch (of two passes, with an EMA)."""
    criterion, seen = trainer.criterion, []

    def asking(output, target):
        if not trainer.model.training and trainer.epoch == epoch:
            seen.append(target)
            if len(seen) == batch:
                trainer.stop.status, trainer.stop.reason = 75, "a test"
        return criterion(output, target)

    trainer.criterion = asking
    return trainer


@pytest.mark.parametrize("options", [{}, {"ema_decay": 0.9}, {"len_epoch": 5}], ids=str)
@pytest.mark.parametrize("batch", [1, 3, 4, 5])
@pytest.mark.parametrize("again", ["a new process", "the same trainer", "twice"])
def test_a_stop_during_validation(tmp_path, options, batch, again):
    config = small_config(tmp_path, monitor="min val_loss", **options)
    config["data_loader"]["args"]["batch_size"] = 100  # three of them to validate with
    full = make_trainer(config, "full")
    full.train()
    trainer = stopped_in_validation(make_trainer(config, "stopped"), 1, batch)
    trainer.train()
    folder = trainer.checkpoint_dir
    if batch < (6 if "ema_decay" in options else 3):
        assert [path.name for path in folder.glob("*.pt")] == [
            f"checkpoint-epoch1-step{trainer.steps_done()}.pt"
        ]
    if again == "twice":
        trainer = stopped_in_validation(make_trainer(config, resume=newest(folder)), 1, batch)
        trainer.train()
    if again != "the same trainer":
        trainer = make_trainer(config, resume=newest(folder))
    trainer.train()
    assert differences(load(last(folder)), load(last(full.checkpoint_dir))) == []
    assert lines(folder) == lines(full.checkpoint_dir)


def newest(folder):
    return list_checkpoints(folder)[0]


@pytest.mark.parametrize(
    "options", [{}, {"accumulation_steps": 2}, {"len_epoch": 12}, GAN], ids=["", "2", "len", "gan"]
)
@pytest.mark.parametrize("batch", [1, 4, 9])
def test_train_again_after_a_stop(tmp_path, options, batch):
    """As one does in a notebook, several times."""
    config = small_config(tmp_path, **({"type": "gan.GanTrainer"} if options is GAN else options))
    config |= GAN if options is GAN else {}
    full = make_trainer(config, "full")
    full.train()
    trainer = make_trainer(config, "stopped")
    after_step = trainer.after_step

    def asking():
        if trainer.place >= batch and not asked[trainer.epoch]:
            asked[trainer.epoch] = True
            trainer.stop.status, trainer.stop.reason = 130, "SIGINT"
        after_step()

    trainer.after_step, asked = asking, {1: False, 2: False}
    for _ in range(3):
        trainer.train()
    assert all(asked.values())
    assert differences(load(last(trainer.checkpoint_dir)), load(last(full.checkpoint_dir))) == []
    assert lines(trainer.checkpoint_dir) == lines(full.checkpoint_dir)


@pytest.fixture
def stopped(tmp_path):
    """The config and a checkpoint within the second epoch."""
    config = small_config(tmp_path, save_steps=5, monitor="min val_loss")
    config["lr_scheduler"] = {"type": "StepLR", "args": {"step_size": 1}}
    trainer = make_trainer(config)
    trainer.train()
    (path,) = trainer.checkpoint_dir.glob("checkpoint-epoch2-step*.pt")
    return config, path


CHANGES = {
    "lr": (
        {"optimizer": {"type": "Adam", "args": {"lr": 0.5}}},
        ["lr: 0.01 -> 0.5", "optimizer .*kept, with lr", "lr_s.*anew"],
    ),
    "optimizer": (
        {"optimizer": {"type": "SGD", "args": {"lr": 0.01}}},
        ["type: .*SGD", "optimizer .*starts anew"],
    ),
    "schedule": (
        {"lr_scheduler": {"type": "StepLR", "args": {"step_size": 5}}},
        ["step_size: 1 -> 5", "lr_s.*starts anew"],
    ),
    "seed": ({"seed": 9}, ["seed: ", "order, random numbers .*start anew"]),
    "epochs": (
        {},
        [
            "epochs: 2 -> 3",
            "weights .*kept",
            "optimizer .*kept",
            "lr_scheduler .*kept",
            "order, .*kept",
        ],
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_one_table_tells_what_became_of_what(stopped, caplog, change):
    config, path = stopped
    changed, told = CHANGES[change]
    config["trainer"]["epochs"] = 3
    caplog.clear()
    make_trainer(config | changed, resume=path).train()
    (table,) = [
        record.getMessage() for record in caplog.records if "Changed since" in record.getMessage()
    ]
    assert [
        text for text in ["So of the run:", "best, patience", *told] if not re.search(text, table)
    ] == []


def test_without_a_change_there_is_no_table(stopped, caplog):
    config, path = stopped
    caplog.clear()
    make_trainer(config, resume=path).train()
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == []


@pytest.mark.parametrize(
    ("key", "value"), [("threads", 99), ("samples", 5), ("torch", "1.0"), ("device", "cuda")]
)
def test_a_promise_that_cannot_be_kept(stopped, caplog, key, value):
    config, path = stopped
    state = load(path)
    state["environment"][key] = value
    checkpoint.save(state, path)
    caplog.clear()
    make_trainer(config, resume=path).train()
    (line,) = [
        record.getMessage()
        for record in caplog.records
        if "not the same bits" in record.getMessage()
    ]
    assert f"{key} {value} -> " in line
    assert "\n" not in line
    checkpoint.save(state, path)
    config["trainer"]["on_inexact_resume"] = "stop"
    with pytest.raises(UserError, match=f"not the same bits as without a stop: {key} {value} -> "):
        make_trainer(config, resume=path).train()


def test_another_thread_count_is_told(stopped, caplog):
    config, path = stopped
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    try:
        make_trainer(config, resume=path).train()
    finally:
        torch.set_num_threads(before)
    assert f"threads {before} -> {before + 1}" in caplog.text
