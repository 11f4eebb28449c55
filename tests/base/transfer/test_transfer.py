"""Transfer in a run: frozen parameters stay, thawed ones move, and resuming gives the same bits."""

from __future__ import annotations

import logging

import pytest
import torch
import torchvision
from torch import nn

from base.transfer.freezing import get_frozen_tensors
from base.transfer.options import Head, Thaw, TransferOptions
from base.transfer.transfer import Transfer, describe_phases
from tests.base.checkpoint.resumed_runs import full_and_resumed
from tests.base.transfer.models import LOGGER, prepare, small_net, thawing_config, train_steps
from tests.helpers import copy_project, differences, load, make_trainer, run
from utils.errors import UserError

FAMILIES = {
    "resnet18": "fc",
    "vgg11": "classifier.6",
    "squeezenet1_0": "classifier.1",
    "mobilenet_v2": "classifier.1",
    "mobilenet_v3_small": "classifier.3",
    "efficientnet_b0": "classifier.1",
    "vit_b_16": "heads.head",
    "convnext_tiny": "classifier.2",
    "swin_t": "head",
}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_gets_a_head_and_frozen_tensors_keep_their_bits(family):
    size = 64 if family != "vit_b_16" else 32
    arguments = {"image_size": size} if family == "vit_b_16" else {}
    model = getattr(torchvision.models, family)(**arguments)
    transfer = prepare(model, head=Head(num_classes=2), freeze="all_but_head")
    head = model.get_submodule(FAMILIES[family])
    before = {name: value.clone() for name, value in get_frozen_tensors(model).items()}
    assert len(before) == len(model.state_dict()) - 2  # the head's weight and bias
    parameters = transfer.parameter_groups(model, 0.01)
    optimizer = torch.optim.AdamW(parameters, lr=0.01, weight_decay=0.1)
    weight = head.weight.clone()
    train_steps(model, optimizer, (2, 3, size, size))
    assert model(torch.randn(2, 3, size, size)).shape == (2, 2)
    assert not torch.equal(head.weight, weight)
    after = get_frozen_tensors(model)
    assert [name for name in after if not torch.equal(after[name], before[name])] == []
    assert {id(p) for p in optimizer.state} == {id(p) for p in head.parameters()}


# -- phases --------------------------------------------------------------------------------------


def trained(model: nn.Module) -> set[str]:
    return {name for name, value in model.named_parameters() if value.requires_grad}


def test_a_second_instance_derives_the_phases_from_the_model(caplog):
    """As of a resumed run: one instance prepares the model, another one begins epoch 3."""
    model = small_net()
    options = {"head": Head(2), "freeze": "all_but_head", "thaw": [Thaw(3, "1.*")]}
    prepare(model, **options)
    head = {"2.3.weight", "2.3.bias"}
    assert trained(model) == head
    second = Transfer(TransferOptions(**options), LOGGER)
    with caplog.at_level(logging.INFO):
        assert second.begin_epoch(3, model)
    assert trained(model) == head | {"1.0.weight", "1.0.bias"}
    assert "From epoch 3 on: 158 of 206 parameters are trained" in caplog.text


def test_only_a_change_of_the_trained_parameters_asks_for_a_new_wrapper():
    model = small_net()
    options = TransferOptions(freeze=["0.*", "1.*"], thaw=[Thaw(2, "1.*"), Thaw(4, "0.*")])
    Transfer(options, LOGGER).prepare_model(model, None, resuming=False)
    transfer = Transfer(options, LOGGER)
    assert [transfer.begin_epoch(epoch, model) for epoch in range(1, 6)] == [
        False,
        True,
        False,
        True,
        False,
    ]
    assert trained(model) == {name for name, _ in model.named_parameters()}


def test_the_first_step_of_each_phase_is_audited():
    model = small_net()
    transfer = prepare(model, freeze=["0.*", "1.*"], thaw=[Thaw(3, "1.*")])
    for epoch, is_audited in ((1, True), (2, False), (3, True)):
        transfer.begin_epoch(epoch, model)
        model[0][1].running_mean.add_(1)
        if is_audited:
            with pytest.raises(UserError, match=r"0\.1\.running_mean changed in a step"):
                transfer.after_step(model)
            transfer = Transfer(transfer.options, LOGGER)
            transfer.begin_epoch(epoch, model)
        transfer.after_step(model)
        transfer.after_step(model)  # a later step of the phase


def test_without_freezing_there_are_no_phases(caplog):
    model = small_net()
    transfer = prepare(model, head=Head(2))
    with caplog.at_level(logging.INFO):
        caplog.clear()
        assert not transfer.begin_epoch(1, model)
    transfer.after_step(model)
    assert not caplog.records


def test_the_phases_of_a_model_without_memory_are_described():
    with torch.device("meta"):
        model = small_net()
    options = TransferOptions(head=Head(2), freeze=1, thaw=[Thaw(3, "1.*")])
    assert describe_phases(model, options) == [
        "From epoch 1 on: 10 of 206 parameters are trained (2.3.weight, 2.3.bias), 196 are frozen",
        "From epoch 3 on: 158 of 206 parameters are trained "
        "(1.0.weight, 1.0.bias, 2.3.weight, 2.3.bias), 48 are frozen",
    ]


def test_a_phase_that_thaws_nothing_is_an_error():
    with pytest.raises(
        UserError, match=r"transfer.thaw.0.params: all of 2.\* is trained already by then"
    ):
        prepare(small_net(), freeze=["0.*"], thaw=[Thaw(2, "2.*")])


SCHEDULERS = {
    "StepLR": {"step_size": 1, "gamma": 0.5},
    "MultiStepLR": {"milestones": [1, 3], "gamma": 0.5},
    "ConstantLR": {"factor": 0.5, "total_iters": 2},
    "LinearLR": {"total_iters": 3},
    "ExponentialLR": {"gamma": 0.9},
    "PolynomialLR": {"total_iters": 4},
    "CosineAnnealingLR": {"T_max": 4},
    "CosineAnnealingWarmRestarts": {"T_0": 2},
    "ReduceLROnPlateau": {"patience": 0, "factor": 0.5},
    "OneCycleLR": {"max_lr": 0.05, "total_steps": 36},
    "CyclicLR": {"base_lr": 0.01, "max_lr": 0.05, "step_size_up": 5},
}


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_thawed_group_follows_every_schedule_at_its_scale(tmp_path, name):
    config = thawing_config(tmp_path, lr_scheduler={"type": name, "args": SCHEDULERS[name]})
    rates: list[list[float]] = []
    trainer = make_trainer(config)
    before = {key: value.clone() for key, value in trainer.model.state_dict().items()}
    train_epoch = trainer._train_epoch

    def watched(epoch):
        log = train_epoch(epoch)
        rates.append([group["lr"] for group in trainer.optimizer.param_groups])
        state = trainer.model.state_dict()
        for key in ("features.3.weight", "features.4.running_mean"):
            assert torch.equal(state[key], before[key]) == (epoch < 3)
        return log

    trainer._train_epoch = watched
    trainer.train()
    assert torch.equal(trainer.model.features[0].weight, before["features.0.weight"])
    assert {round(min(pair) / max(pair), 6) for pair in rates if max(pair) > 0} == {0.1}
    freeze_only = {**config, "transfer": {"freeze": config["transfer"]["freeze"]}}
    single = make_trainer(freeze_only, "single")
    single.train()
    assert len(single.optimizer.param_groups) == 1
    if name != "ReduceLROnPlateau":  # which depends on the results
        assert max(rates[-1]) == pytest.approx(single.optimizer.param_groups[0]["lr"])


@pytest.mark.parametrize("after", [1, 2, 3])
def test_resuming_before_at_and_after_a_phase_gives_the_same_bits(tmp_path, after):
    scheduler = {"type": "CosineAnnealingLR", "args": {"T_max": 4}}
    config = thawing_config(tmp_path, lr_scheduler=scheduler)
    full, resumed, _, _ = full_and_resumed(tmp_path, config, after)
    assert differences(full, resumed) == []


def test_another_thawing_starts_the_optimizer_anew(tmp_path, caplog):
    config = thawing_config(tmp_path)
    make_trainer(config).train()
    config["transfer"] = {**config["transfer"], "thaw": None}
    config["trainer"] |= {"epochs": 5}
    with caplog.at_level(logging.WARNING):
        make_trainer(config, resume=tmp_path / "small/run/checkpoint-epoch4.pt").train()
    assert "the optimizer starts anew" in caplog.text


# -- shown on digits -----------------------------------------------------------------------------

LOADER = """
import torch
from sklearn.datasets import load_digits
from torch.utils.data import TensorDataset

from base import BaseDataLoader
from base.data.split import split_indices


class Loader(BaseDataLoader):
    def __init__(self, low: int, high: int, per_class: int = 0, batch_size: int = 32):
        x, y = load_digits(return_X_y=True)
        chosen = (y >= low) & (y <= high)
        x = torch.tensor(x[chosen] / 16, dtype=torch.float32).reshape(-1, 1, 8, 8)
        y = torch.tensor(y[chosen] - low)
        train, valid = split_indices(len(y), 0.5, labels=y)
        if per_class:
            classes = [[i for i in train if y[i] == c] for c in range(high - low + 1)]
            train = [i for members in classes for i in members[:per_class]]
        order = [*train, *valid]
        dataset = TensorDataset(x[order], y[order].long())
        super().__init__(dataset, batch_size, sampler=range(len(train)))
        self.rest = range(len(train), len(order))

    def split_validation(self):
        return BaseDataLoader(self.dataset, 256, sampler=self.rest)
"""


def test_training_on_digits_0_to_4_helps_with_5_to_9(tmp_path):
    project = copy_project(tmp_path / "project")
    (project / "data_loader/halves.py").write_text(LOADER)
    words = [
        "train.py",
        "-c",
        "config.json",
        "data_loader.type=halves.Loader",
        "trainer.monitor=max val_accuracy",
    ]
    words += [
        "metrics=[accuracy]",
        "~lr_scheduler",
        "trainer.tensorboard=false",
        "trainer.early_stop=0",
    ]

    def best(run_id, *more):
        done = run(*words, "--run-id", run_id, *more, cwd=project)
        assert done.returncode == 0, done.stderr
        return float(done.stdout.split("Best val_accuracy: ")[1].split()[0]), done.stdout

    best(
        "first", "data_loader.args={low: 0, high: 4}", "arch.args.num_classes=5", "trainer.epochs=8"
    )
    few = [
        "data_loader.args={low: 5, high: 9, per_class: 50}",
        "arch.args.num_classes=5",
        "trainer.epochs=2",
        "seed=1",
    ]
    scratch, _ = best("scratch", *few)
    transferred, output = best(
        "transferred", *few, "transfer={init_from: saved/digits/first, head: {num_classes: 5}}"
    )
    assert "matched       " in output
    assert "New head: classifier.2, with 5 outputs." in output
    assert transferred > scratch
    tested = run("test.py", "-r", "saved/digits/transferred", cwd=project)
    assert tested.returncode == 0, tested.stderr
    state = load(project / "saved/digits/transferred/model_best.pt")
    assert state["config"]["transfer"]["init_from"] == "saved/digits/first"
