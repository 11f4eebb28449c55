"""``config/schema.json``: what an editor knows about a config."""

from __future__ import annotations

import json
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from base.schema import SCHEMA
from config.check.json_schema import PATH, make_json_schema, to_text
from config.read.source import read_tree
from tests.config.check.small import edit_cifar10
from tests.test_shipped_configs import CONFIGS

WRITTEN = json.loads(PATH.read_text(encoding="utf-8"))
VALIDATOR = Draft202012Validator(WRITTEN)
PROJECT = ("base.", "data_loader.", "model.", "trainer.")


def find_errors(config: dict[str, Any]) -> list[str]:
    return [f"{error.json_path}: {error.message[:200]}" for error in VALIDATOR.iter_errors(config)]


# -- the file --------------------------------------------------------------------------------------


def test_it_is_a_json_schema_of_draft_2020() -> None:
    assert WRITTEN["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    Draft202012Validator.check_schema(WRITTEN)


def test_every_reference_has_a_definition() -> None:
    names = set(re.findall(r'"\$ref": "#/\$defs/([^"]+)"', PATH.read_text(encoding="utf-8")))
    assert names <= set(WRITTEN["$defs"])


def test_the_file_is_up_to_date() -> None:
    """If this fails after a change to a signature or a docstring: ``python -m config schema``."""
    now = make_json_schema(SCHEMA)
    if all(
        f"{name} {version(name)}" in WRITTEN["$comment"]
        for name in ("torch", "torchvision", "torchmetrics")
    ):
        assert to_text(now) == PATH.read_text(encoding="utf-8"), "run `python -m config schema`"
    of_now, on_disk = (
        {key: value for key, value in tree["$defs"].items() if key.startswith(PROJECT)}
        for tree in (now, WRITTEN)
    )
    assert of_now.keys() >= {"model.model.SmallConvNet", "base.loaders.DatasetLoader"}
    assert of_now == on_disk, "run `python -m config schema`"


# -- shipped configs -------------------------------------------------------------------------------


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_a_shipped_config_is_valid(path: Path) -> None:
    assert find_errors(read_tree(path).data) == []


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_a_shipped_config_names_the_schema_for_its_editor(path: Path) -> None:
    if path.suffix == ".json":
        named = read_tree(path).data["$schema"]
    else:
        first = path.read_text(encoding="utf-8").partition("\n")[0]
        named = first.removeprefix("# yaml-language-server: $schema=")
        assert named != first
    assert (path.parent / named).resolve() == PATH.resolve()


# -- errors in an editor --------------------------------------------------------------

MISTYPED = [
    # required keys that are missing
    "~name", "~arch", "~data_loader", "~optimizer", "~trainer",
    # misspelt keys at the top
    "naem=x", "archs={type: resnet.ResNet20}", "lr_schedular={type: StepLR}",
    "dataloader={type: DatasetLoader}", "metric=[accuracy]",
    "vaild_data_loader={type: DatasetLoader}", "trianer={epochs: 3}",
    # plain values of a wrong type
    "name=3", "seed=1.5", "seed=abc", "n_gpu=all", "n_gpu=true", "description=[a]", "extends=3",
    # components
    "arch=ResNet20", "arch=[]", "arch=3", "arch.typ=x", "arch.argz={}", "arch.num_classes=10",
    "arch.args=[3]", "optimizer.lr=0.1", "lr_scheduler=StepLR", "valid_data_loader=x",
    "trainer=fast", "loss=5", "loss={type: cross_entropy, arg: {}}", "metrics=accuracy",
    "metrics=[3]", "metrics=[{type: accuracy, nam: acc}]",
    # types
    "arch.type=resnet.ResNet2", "arch.type=ResNet20", "arch.type=os.system", "arch.type=5",
    "optimizer.type=Sgd", "optimizer.type=StepLR", "loss=cross_entrpy", "metrics=[acuracy]",
    "lr_scheduler.type=MultistepLR", "data_loader.type=DatasetLoder",
    "valid_data_loader.type=Dataset", "trainer.type=Trainr", "trainer.type=gan.Trainer",
    # arguments: names
    "arch.args.num_clases=10", "optimizer.args.momentm=0.9", "lr_scheduler.args.gama=0.1",
    "data_loader.args.batchsize=32", "loss={type: cross_entropy, args: {label_smothing: 0.1}}",
    "metrics=[{type: top_k_acc, args: {kk: 3}}]",
    # arguments: values
    "arch.args.num_classes=ten", "arch.args.num_classes=1.5", "arch.args.width=[16]",
    "optimizer.args.nesterov=1", "optimizer.args.nesterov=yes", "optimizer.args.momentum=high",
    "optimizer.args.lr=[0.1]", "data_loader.args.num_workers=2.5",
    "data_loader.args.batch_size=big", "data_loader.args.shuffle=no",
    "metrics=[{type: top_k_acc, args: {k: three}}]",
    # components inside arguments
    "data_loader.args.dataset=5", "data_loader.args.dataset.type=CIFAR11",
    "data_loader.args.dataset.typ=CIFAR10", "data_loader.args.dataset.args.train=1",
    "data_loader.args.dataset.args.tran=true",
    "data_loader.args.dataset={type: FakeData, args: {size: many}}",
    "data_loader.args.dataset.args.transform.type=Compos",
    "data_loader.args.dataset.args.transform.args.transform=[]", "T.0.type=RandomCorp",
    "T.0.args.sise=32", "T.0.arg={}", "T.1.args.p=often", "T.2.typo=1", "T.4.args.mean=0.5",
    "T.4.args.inplace=maybe",
    # the trainer's section
    "trainer.epoch=5", "trainer.epochs=ten", "trainer.epochs=1.5", "trainer.save_perod=1",
    "trainer.moniter=min loss", "trainer.monitor=[min, loss]", "trainer.precision=fp8",
    "trainer.verbosity=3", "trainer.tensorboard=1", "trainer.lr_scheduler_interval=batch",
    "trainer.ema_decay=often", "trainer.keep_last=all", "trainer.len_epochs=3",
    "trainer.grad_clip_norm=true",
    # sections with components in their options
    "search={spaces: {}}", "search.trials=many", "search.sampler=tpee", "search.sampler=5",
    "search.sampler={type: GridSampler}", "search.pruner.typ=MedianPruner",
    "search.sampler={type: TPESampler, args: {n_startup: 3}}",
    "search.pruner={type: PatientPruner, args: {wrapped_pruner: {type: RandomSampler}}}",
    "repeat.folds=many", "repeat.fold=3",
]  # fmt: skip


@pytest.mark.parametrize("override", MISTYPED)
def test_a_mistyped_config_is_an_error(override: str) -> None:
    assert not VALIDATOR.is_valid(edit_cifar10(override))


REST = ["~name", "~data_loader", "~optimizer", "~loss", "~trainer"]  # removes most of a config


@pytest.mark.parametrize(
    "overrides",
    [
        [
            "my_own={any: [1, {thing: true}]}",
            "trainer.my_own=3",
            "optimizer_D={type: Adam, args: {lr: 1e-3}}",
        ],
        [
            "__comment=a",
            "arch.__comment=b",
            "arch.args.__comment_width=c",
            "trainer.__comment_epochs=d",
        ],
        [
            "optimizer.args.lr=${base_lr}",
            "trainer.epochs=${n}",
            "optimizer.args.nesterov=${x}",
            "seed=${n}",
        ],
        [
            "trainer.save_dir=runs/${name}",
            "arch.type=${model}",
            "T.4.args.mean=${mean}",
            "optimizer.args.foreach=${x}",
        ],
        [
            "trainer.precision=${precision}",
            "trainer.verbosity=${n}",
            "trainer.lr_scheduler_interval=${x}",
        ],
        ["arch=${model}"],
        ["arch.args=${sizes}"],
        ["metrics=${metrics_of_all}"],
        ["trainer=${usual}"],
        ["extends=config.json", *REST],
        [
            "extends=[config.json, digits_gan.yaml]",
            *REST,
            "~arch",
            "arch.args={~num_classes: , width: 8}",
        ],
        ["lr_scheduler=null", "valid_data_loader=null", "test_data_loader={}", "arch.args=null"],
        ["arch={type: torchvision.models.resnet18, args: {num_classes: 10}}"],
        [
            "loss=torch.nn.functional.nll_loss",
            "optimizer={type: torch.optim.AdamW, args: {lr: 0.1}}",
        ],
        ["metrics=[{type: torchmetrics.Accuracy, args: {task: binary}, name: acc}, accuracy]"],
        ["metrics=[]", "loss={type: CrossEntropyLoss, args: {label_smoothing: 0.1, weight: null}}"],
        [
            "trainer.early_stop=.inf",
            "trainer.grad_clip_norm=null",
            "trainer.precision=bf16",
            "trainer.verbosity=0",
        ],
        [
            "data_loader.args.sampler={type: RandomSampler}",
            "data_loader.args.collate_fn=default_collate",
        ],
        ["data_loader.args.dataset={type: FakeData, args: {size: 9, image_size: [3, 8, 8]}}"],
        ["data_loader.args.validation_split=100", "data_loader.args.num_workers=0"],
        ["data_loader.args.validation_split=0.1", "T.0.args.size=[32, 32]", "T.1={type: ToImage}"],
        ["optimizer={type: Adam, args: {betas: [0.9, 0.99], lr: 1, weight_decay: 1e-4}}"],
        ["search={space: {a.b: [1]}, sampler: tpe, trials: 3, pruner: null}", "repeat.seeds=[1]"],
        ["search={sampler: GPSampler, pruner: {type: optuna.pruners.MedianPruner}}"],
        [
            "search.pruner={type: PatientPruner, args: {wrapped_pruner: {type: MedianPruner}}}",
            "repeat={seeds: 3, folds: 5}",
        ],
    ],
    ids=lambda overrides: " ".join(overrides)[:60],
)
def test_a_good_edit_passes(overrides: list[str]) -> None:
    assert find_errors(edit_cifar10(*overrides)) == []


def test_inherited_keys_may_be_removed() -> None:
    assert (
        find_errors(
            {"extends": "config.json", "~lr_scheduler": None, "trainer": {"~early_stop": None}}
        )
        == []
    )


def test_infinite_numbers_as_text_pass() -> None:
    assert find_errors(edit_cifar10() | {"trainer": {"epochs": 1, "grad_clip_norm": ".inf"}}) == []
