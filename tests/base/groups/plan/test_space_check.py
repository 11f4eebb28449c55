"""The space of a search is compared with what takes its values, before anything starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from base import BaseDataLoader
from base.schema import SCHEMA
from config import ConfigError, ConfigParser
from config.read.merge import load_tree
from tests.base.groups.plan.sweep import LR, check_space, find_in_space, make_sections
from tests.config.check.project_file import add_project_file
from tests.config.check.small import CONFIG, find, run_check

CONVNET, RESNET = {"type": "SmallConvNet"}, {"type": "resnet.ResNet20"}


def test_a_good_space_passes() -> None:
    check_space(
        {
            "arch": [CONVNET, RESNET],
            "arch.args.width": [4, 8],
            "optimizer.type": ["Adam", "SGD"],
            "optimizer.args.lr": {"low": 1e-4, "high": 1e-1, "log": True},
            "data_loader.args.batch_size": {"low": 32, "high": 128, "step": 32},
            "lr_scheduler": [None, {"type": "StepLR", "args": {"step_size": 3}}],
            "trainer.ema_decay": [None, 0.99],
            "loss": ["cross_entropy", "nll_loss"],
            "seed": [1, 2],
        }
    )


@pytest.mark.parametrize(
    ("space", "line"),
    [
        (
            {"optimizer.args.lrr": [1]},
            "optimizer.args.lrr: Adam takes no 'lrr' (did you mean 'lr'?)",
        ),
        ({"optimizer.args.lr": ["a", 1]}, "optimizer.args.lr: wants float | torch.Tensor, not 'a'"),
        ({"data_loader.args.batch_size": [2, "x"]}, "batch_size: wants int, not 'x'"),
        ({"arch": [CONVNET, {"type": "resnet.ResNt20"}]}, "no 'ResNt20' in model/resnet.py (did y"),
        ({"arch": [{"type": "SmallConvNet", "args": {"depth": 1}}]}, "takes no 'depth'"),
        ({"trainer.epoch": [1]}, "trainer.epoch: unknown key (did you mean 'epochs'?)"),
        ({"trainer.my_option": [1]}, "trainer.my_option: unknown key; Trainer has no such option"),
        ({"trainer.epochs": {"low": 0, "high": 3}}, "trainer.epochs: 0 must be at least 1"),
        ({"my_key": [1]}, "my_key: the config has no such key"),
        ({"optimiser": [1]}, "optimiser: unknown key (did you mean 'optimizer'?)"),
        ({"metrics.7": ["accuracy"]}, "metrics.7: this list takes an index from 0 to 0"),
        ({"optimizer.args.lr.x": [1]}, "optimizer.args.lr is the value 0.01 and has no keys"),
        ({"a..b": [1]}, 'search.space."a..b": is no key'),
        ({"": [1], "arch.args.width": [4]}, "search.space.: is no key"),
        ({"optimizer": {"args": {"lr": [1]}}}, "write the full key with dots, such as optimizer.a"),
        ({"trainer": [None]}, "trainer: null would change trainer.monitor"),
        ({"~arch": [1]}, "search.space.~arch: is no key"),
    ],
)
def test_a_key_or_value_that_nothing_takes_is_reported(space: dict[str, Any], line: str) -> None:
    (found,) = find_in_space(space)
    assert line in found


def test_each_wrong_choice_and_end_is_reported_at_its_position(tmp_path: Path) -> None:
    text = """\
        extends: base.json
        search:
          trials: 3
          space:
            optimizer.args.lr: [0.1, a, b]
            data_loader.args.batch_size: {low: 1,
              high: 2.5}
    """
    (tmp_path / "sweep.yaml").write_text("\n".join(line[8:] for line in text.splitlines()))
    config = ConfigParser(CONFIG | {"trainer": make_sections()["trainer"]})
    (tmp_path / "base.json").write_text(str(config.plain()).replace("'", '"'))
    with pytest.raises(ConfigError) as caught:
        ConfigParser(load_tree(tmp_path / "sweep.yaml")).check(SCHEMA)
    assert str(caught.value).replace(str(tmp_path), "").splitlines() == [
        "/sweep.yaml:5:30: optimizer.args.lr: wants float | torch.Tensor, not 'a'",
        "/sweep.yaml:5:33: optimizer.args.lr: wants float | torch.Tensor, not 'b'",
        "/sweep.yaml:7:7: data_loader.args.batch_size: wants int, not 2.5",
    ]


def test_a_value_that_does_not_fit_elsewhere_names_both_keys() -> None:
    (line,) = find_in_space({"metrics": [["accuracy"], ["top_k_acc"]]})
    assert line.startswith('metrics: with ["top_k_acc"]: trainer.monitor: nothing is logged as')


def test_folds_give_the_validation_numbers_also_with_other_metrics(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Loader(BaseDataLoader):
        def __init__(self, batch_size: int = 8, **kwargs: Any) -> None:
            raise NotImplementedError

    add_project_file(monkeypatch, "data_loader.folded", Loader=Loader)
    loader = {"type": "folded.Loader"}
    check_space(
        {"metrics": [["accuracy"], ["top_k_acc", "accuracy"]]},
        data_loader=loader,
        repeat={"folds": 3},
    )


def test_a_key_inside_another_one_is_checked_with_each_choice_of_the_outer_one() -> None:
    space = {"arch": [CONVNET, RESNET], "arch.args.dropout": [0.1, 0.2]}
    (line,) = find_in_space(space)
    assert line.startswith("arch.args.dropout: resnet.ResNet20 takes no 'dropout'")
    assert line.endswith("(with arch: resnet.ResNet20)")


def test_an_argument_is_checked_with_each_type_that_may_take_it() -> None:
    space = {"optimizer.type": ["SGD", "Adam"], "optimizer.args.momentum": [0.9]}
    (line,) = find_in_space(space)
    assert line.startswith("optimizer.args.momentum: Adam takes no 'momentum'")
    assert line.endswith("(with optimizer.type: Adam)")


def test_a_wrong_outer_choice_is_reported_once() -> None:
    space = {"arch": [CONVNET, {"type": "resnet.Foo"}], "arch.args.width": [4]}
    (line,) = find_in_space(space)
    assert line == "arch.type: no 'Foo' in model/resnet.py"


@pytest.mark.parametrize(
    "key",
    ["name", "n_gpu", "parallel.type", "trainer.save_dir", "trainer.monitor", "search.trials"],
)
def test_what_all_trials_have_in_common_cannot_be_searched(key: str) -> None:
    (line,) = find_in_space({key: ["a", "b"]})
    assert "cannot be searched, because" in line


def test_a_choice_around_a_fixed_key_must_keep_its_value() -> None:
    trainer = {"epochs": 1, "monitor": "max val_accuracy"}
    check_space({"trainer": [trainer, trainer | {"epochs": 2}]})
    (line,) = find_in_space({"trainer": [trainer, trainer | {"monitor": "min val_loss"}]})
    assert "would change trainer.monitor, which cannot be searched" in line


def test_the_seed_and_the_folds_of_a_repetition_cannot_be_searched() -> None:
    (line,) = find_in_space({"seed": [1, 2]}, repeat={"seeds": 2})
    assert "repeat.seeds gives each trial several seeds" in line
    sections = make_sections(space={"data_loader.args.fold": [1, 2]}) | {"repeat": {"folds": 5}}
    assert "repeat.folds sets this for each run" in "\n".join(find(**sections))


def test_a_rate_that_the_schedule_replaces_cannot_be_searched() -> None:
    schedule: dict[str, Any] = {"type": "OneCycleLR", "args": {"max_lr": 0.1}}
    space: dict[str, Any] = {"optimizer.args.lr": LR}
    (line,) = find_in_space(space, lr_scheduler=schedule)
    assert "lr_scheduler sets the learning rate; search lr_scheduler.args.max_lr instead" in line
    check_space(space | {"lr_scheduler.args.max_lr": LR}, lr_scheduler=schedule)
    check_space(space, lr_scheduler={"type": "StepLR", "args": {"step_size": 1}})
    following = {"type": "OneCycleLR", "args": {"max_lr": "${optimizer.args.lr}"}}
    data = CONFIG | make_sections(space=space) | {"lr_scheduler": following}
    ConfigParser(data).check(SCHEMA)


def test_values_that_refer_to_a_searched_key_are_checked_with_it() -> None:
    data = CONFIG | make_sections(space={"width": [4, "x"]}) | {"width": 4}
    data["arch"] = {"type": "SmallConvNet", "args": {"width": "${width}"}}
    with pytest.raises(ConfigError) as caught:
        ConfigParser(data).check(SCHEMA)
    assert str(caught.value) == "width: with x: arch.args.width: wants int, not 'x'"
    data["trainer"] = data["trainer"] | {"save_dir": "runs/${width}"}
    data["search"]["space"] = {"width": [4, 8]}
    with pytest.raises(ConfigError, match=r"width: 8 would change trainer\.save_dir"):
        ConfigParser(data).check(SCHEMA)


def test_a_choice_may_refer_to_another_value() -> None:
    data = CONFIG | make_sections(space={"arch.args.width": ["${base}", "${base}0"]}) | {"base": 4}
    with pytest.raises(ConfigError, match=r"arch\.args\.width: wants int, not '40'"):
        ConfigParser(data).check(SCHEMA)


# -- ranges ----------------------------------------------------------------------------------------


def test_a_range_of_a_float_parameter_is_one_of_floats() -> None:
    space = check_space({"optimizer.args.lr": {"low": 0, "high": 1, "step": 1}})
    assert [type(value) for value in space["optimizer.args.lr"].values()] == [float] * 3


def test_a_range_of_an_integer_parameter_stays_one_of_integers() -> None:
    key = "data_loader.args.batch_size"
    assert check_space({key: {"low": 8, "high": 64}})[key] == {"low": 8, "high": 64}
    (line,) = find_in_space({key: {"low": 8, "high": 64, "step": 0.5}})
    assert line == "data_loader.args.batch_size: wants int, not 8.5"


def test_where_both_fit_the_ends_decide() -> None:
    key = "data_loader.args.validation_split"  # a count, or a fraction
    assert type(check_space({key: {"low": 1, "high": 9}})[key]["low"]) is int
    assert type(check_space({key: {"low": 0.1, "high": 0.9}})[key]["low"]) is float


def test_without_an_annotation_a_float_in_the_config_makes_floats(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def make(alpha=1, mode="x"):  # type: ignore[no-untyped-def]
        return None

    add_project_file(monkeypatch, "model.made", make=make)
    range_ = {"arch.args.alpha": {"low": 0, "high": 2}}
    for alpha, kind in ((0.5, float), (1, int)):
        arch = {"type": "made.make", "args": {"alpha": alpha, "mode": "x"}}
        space = check_space(dict(range_), arch=arch)
        assert type(space["arch.args.alpha"]["low"]) is kind
    (line,) = find_in_space({"arch.args.mode": {"low": 0, "high": 2}}, arch=arch)
    assert line.endswith("a range is for numbers, and the config has x")


@pytest.mark.parametrize("key", ["trainer.tensorboard", "optimizer.type", "arch"])
def test_a_range_of_something_that_is_no_number_is_reported(key: str) -> None:
    assert f"{key}: " in "\n".join(find_in_space({key: {"low": 0, "high": 1}}))


def test_the_check_leaves_the_values_of_the_config_as_they_are() -> None:
    tree = run_check(**make_sections(space={"optimizer.args.lr": [0.5], "arch": [RESNET]}))
    assert tree.data["optimizer"] == {"type": "Adam", "args": {"lr": 0.01}}
    assert tree.data["arch"]["type"] == "SmallConvNet"
