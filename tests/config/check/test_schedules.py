"""What is reported about schedulers, also those inside of others."""

from __future__ import annotations

from typing import Any

import pytest

from tests.config.check.small import CONFIG, find, run_check

COSINE = {"type": "CosineAnnealingLR"}
LINEAR = {"type": "LinearLR"}
PLATEAU = {"type": "ReduceLROnPlateau"}


def sequence(*held: Any, **args: Any) -> dict[str, Any]:
    return {"type": "SequentialLR", "args": {"schedulers": list(held)} | args}


def chain(*held: Any) -> dict[str, Any]:
    return {"type": "ChainedScheduler", "args": {"schedulers": list(held)}}


@pytest.mark.parametrize(
    "section",
    [
        COSINE,
        {"type": "PolynomialLR"},
        sequence(LINEAR, COSINE, milestones=[3]),
        sequence(sequence(LINEAR, COSINE, milestones=[1]), chain(COSINE, LINEAR), milestones=[3]),
    ],
)
def test_a_good_schedule_passes(section: dict[str, Any]) -> None:
    run_check(lr_scheduler=section)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        (sequence(LINEAR, COSINE), "args: SequentialLR needs 'milestones'"),
        (
            sequence(LINEAR, COSINE, milestones=[]),
            "args.milestones: 2 schedulers need 1 milestone between them, not 0",
        ),
        (
            sequence(LINEAR, LINEAR, COSINE, milestones=[3, 3]),
            "args.milestones.1: 3 must be above 3, the milestone before",
        ),
        (sequence(LINEAR, COSINE, milestones=[0]), "args.milestones.0: 0 must be above 0"),
        (sequence(LINEAR, COSINE, milestones=3), "args.milestones: wants list[int], not 3"),
        (sequence(milestones=[]), "args.schedulers: is empty"),
        (chain(), "args.schedulers: is empty"),
        (
            {"type": "ChainedScheduler", "args": {"schedulers": COSINE}},
            "args.schedulers: must be a list of schedulers",
        ),
        (chain(LINEAR, "CosineAnnealingLR"), "args.schedulers.1: must be "),
        (chain(LINEAR, {"type": "Cosine"}), "args.schedulers.1.type: no 'Cosine' in "),
        (
            chain(chain({"type": "StepLR", "args": {"step_siz": 3}})),
            "args.schedulers.0.args.schedulers.0.args.step_siz: StepLR takes no 'step_siz' (did",
        ),
        (
            chain({"type": "StepLR", "args": {"step_size": 0}}),
            "args.schedulers.0.args.step_size: 0 must be above 0",
        ),
        (
            chain(COSINE | {"args": {"optimizer": "SGD"}}),
            "args.schedulers.0.args.optimizer: 'optimizer' is given by the program",
        ),
        (
            {"type": "LambdaLR", "args": {"lr_lambda": ["trainer.nothing"]}},
            "args.lr_lambda.0.type: no 'nothing' in trainer/trainer.py",
        ),
        ({"type": "LambdaLR", "args": {"lr_lambda": 3}}, "args.lr_lambda: must be "),
    ],
)
def test_a_wrong_schedule_is_reported(section: dict[str, Any], message: str) -> None:
    (line,) = find(lr_scheduler=section)
    assert line.startswith(f"lr_scheduler.{message}")


def test_a_plateau_inside_of_a_scheduler_of_torch_is_reported() -> None:
    trainer = CONFIG["trainer"] | {"monitor": "max val_accuracy"}
    (line,) = find(lr_scheduler=sequence(LINEAR, PLATEAU, milestones=[1]), trainer=trainer)
    assert line.startswith(
        "lr_scheduler.args.schedulers.1.type: ReduceLROnPlateau follows a number, which "
        "SequentialLR does not pass on"
    )
    wrong = PLATEAU | {"args": {"mode": "min"}}
    lines = find(lr_scheduler=chain(wrong), trainer=trainer)
    assert lines[0].startswith("lr_scheduler.args.schedulers.0.args.mode: 'min' contradicts")


@pytest.mark.parametrize(
    ("trainer", "message"),
    [
        ({"warmup": {"from": 0.1}}, "trainer.warmup: trainer.warmup needs 'steps'"),
        ({"warmup": {"steps": -1}}, "trainer.warmup.steps: -1 must be at least 0"),
        ({"warmup": {"steps": 5, "from": 2}}, "trainer.warmup.from: 2 must lie between 0 and 1"),
        ({"warmup": {"steps": 5, "form": 0}}, "trainer.warmup.form: trainer.warmup takes no"),
        ({"warmup": {"steps": 5}, "warmup_steps": 5}, "trainer.warmup_steps: is the short form"),
        ({"warmup": {"steps": 5}, "len_epoch": 3}, "trainer.warmup.steps: 5 is more than the 3"),
    ],
)
def test_a_wrong_warm_up_is_reported(trainer: dict[str, Any], message: str) -> None:
    (line,) = find(trainer=CONFIG["trainer"] | trainer)
    assert line.startswith(message)
