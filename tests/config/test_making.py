"""ConfigParser: making what the config describes."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from torch import nn

from config import ConfigError, ConfigParser
from config.read.merge import apply_override
from config.read.tree import Tree
from tests.config.experiment import CONFIG, make_parser

# -- pytorch-template's way, with a module ---------------------------------------------------------


def test_init_obj_looks_the_type_up_in_a_module() -> None:
    config = make_parser(arch={"type": "Linear", "args": {"in_features": 2}})
    layer = config.init_obj("arch", nn, out_features=3)
    assert layer.weight.shape == (3, 2)
    optimizer = config.init_obj("optimizer", torch.optim, layer.parameters())
    assert optimizer.param_groups[0]["lr"] == 0.01


def test_init_ftn_fixes_arguments_without_calling() -> None:
    config = make_parser(loss={"type": "smooth_l1_loss", "args": {"beta": 2.0}})
    loss = config.init_ftn("loss", nn.functional, reduction="sum")
    output, target = torch.tensor([0.0, 1.0]), torch.tensor([1.0, 1.0])
    assert loss(output, target) == nn.functional.smooth_l1_loss(
        output, target, reduction="sum", beta=2.0
    )
    fixed = config.init_ftn("loss", nn.functional, output)
    assert fixed(target) == nn.functional.smooth_l1_loss(output, target, beta=2.0)


@pytest.mark.parametrize("args", [{}, None])
def test_init_obj_works_without_arguments(args: Any) -> None:
    assert isinstance(
        make_parser(arch={"type": "ReLU", "args": args}).init_obj("arch", nn), nn.ReLU
    )


@pytest.mark.parametrize(
    ("section", "kwargs", "message"),
    [
        (
            {"type": "Lineer", "args": {}},
            {},
            "arch.type: no 'Lineer' in torch.nn (did you mean 'Linear'?)",
        ),
        (
            {"type": "Linear", "args": {"in_features": 1}},
            {"in_features": 2},
            "arch.args.in_features: is given by the program; remove it from the config",
        ),
        ({"type": "Linear", "args": {"in_features": 1}}, {}, "arch: Linear: "),
    ],
)
def test_an_error_of_init_obj_is_one_line(
    section: Any, kwargs: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        make_parser(arch=section).init_obj("arch", nn, **kwargs)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("overrides", "start"),
    [
        (["optimizer.args.lr=-1"], "optimizer.args.lr=-1: optimizer.args.lr: SGD: Invalid"),
        (["optimizer.args.weight_decay=-2", "optimizer.args.lr=1"], "optimizer.args.weight_decay="),
        (["optimizer.args.momentum=0"], "optimizer: SGD: Invalid learning rate: -0.5"),
        (["optimizer.args.lr=-1", "optimizer.args.momentum=-1"], "optimizer: SGD: Invalid"),
    ],
)
def test_an_error_points_to_the_override_that_its_text_names(
    overrides: list[str], start: str
) -> None:
    """It points to the section if the text fits several overrides, or none."""
    tree = Tree(dict(CONFIG) | {"optimizer": {"type": "SGD", "args": {"lr": -0.5}}})
    for override in overrides:
        apply_override(tree, override)
    config = ConfigParser(tree)
    with pytest.raises(ConfigError) as caught:
        config.init_obj("optimizer", torch.optim, [nn.Parameter(torch.ones(1))])
    assert str(caught.value).startswith(start)


# -- by the slots ----------------------------------------------------------------------------------


def test_metrics_have_the_name_under_which_they_are_logged() -> None:
    config = make_parser(
        metrics=[
            "accuracy",
            {"type": "top_k_acc", "args": {"k": 2}, "name": "top2"},
            {"type": "metric.binary_accuracy"},
            {"type": "accuracy", "name": "again"},
            {"type": "MeanSquaredError", "name": "mse"},
        ]
    )
    metrics = config.build_metrics()
    assert [metric.__name__ for metric in metrics] == [
        "accuracy",
        "top2",
        "binary_accuracy",
        "again",
        "mse",
    ]
    from model.metric import accuracy

    assert accuracy.__name__ == "accuracy"  # the function of the project keeps its own
    assert metrics[1].keywords == {"k": 2}


@pytest.mark.parametrize(
    ("argument", "takes"), [("training", True), ("batch_size", True), ("trainig", False)]
)
def test_takes_says_whether_there_is_such_a_parameter(argument: str, takes: bool) -> None:
    assert make_parser().takes("data_loader", argument) is takes


def test_a_trainer_gets_only_what_its_constructor_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    import trainer.trainer
    from base import BaseTrainer

    class Probe(BaseTrainer):
        def __init__(
            self,
            net: Any,
            loss: Any,
            metrics: Any,
            optim: Any,
            config: Any,
            noise: float,
            n: int = 3,
        ) -> None:
            self.got = (net, loss, metrics, optim, config, noise, n)

    Probe.__module__ = "trainer.trainer"
    monkeypatch.setattr(trainer.trainer, "Probe", Probe, raising=False)
    config = make_parser(trainer={"type": "Probe", "epochs": 1, "noise": 0.5})
    given = {
        "model": 1,
        "criterion": 2,
        "metric_ftns": 3,
        "optimizer": 4,
        "device": 6,
        "data_loader": 7,
    }
    assert config.build_trainer(**given).got == (1, 2, 3, 4, config, 0.5, 3)
    assert config.trainer_class() is Probe


def test_a_component_is_made_from_its_section() -> None:
    network = make_parser().build("arch")
    assert type(network).__name__ == "SmallConvNet"
    optimizer = make_parser().build("optimizer", network.parameters())
    assert isinstance(optimizer, torch.optim.Adam)
    assert not isinstance(make_parser().build("loss"), functools.partial)


def test_a_component_is_made_with_changed_arguments() -> None:
    config = make_parser()
    network = config.build("arch", changed_args={"width": 8})
    assert config["arch"]["args"] == {"width": 4}
    assert next(network.parameters()).shape[0] == 8


@pytest.mark.parametrize(
    ("argument", "value"), [("lr", 0.01), ("eps", 1e-8), ("params", None), ("nothing", None)]
)
def test_an_argument_is_that_of_the_config_or_else_the_default(argument: str, value: Any) -> None:
    assert make_parser().get_argument("optimizer", argument) == value


def test_the_validation_loader_is_a_section_or_else_a_split_or_else_none() -> None:
    digits = {"type": "DigitsDataLoader", "args": {"batch_size": 64, "training": False}}
    train, valid = make_parser().build_loaders()
    assert (train.n_samples, valid.n_samples) == (1151, 287)
    _, valid = make_parser(valid_data_loader=digits).build_loaders()
    assert valid.batch_size == 64
    torch_loader = {
        "type": "torch.utils.data.DataLoader",
        "args": {"dataset": {"type": "FakeData"}},
    }
    assert make_parser(data_loader=torch_loader).build_loaders()[1] is None
