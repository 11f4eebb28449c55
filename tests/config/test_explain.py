"""``python -m config explain``: the meaning of keys, whether the config has them or not."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from config.check.json_values import describe_parameter
from tests.config.experiment import Look
from tests.config.test_config_main import get_rows


def explain(look: Look, key: str, *words: str) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Returns the rows of the table, and the lines below them, by key."""
    status, out, err = look("explain", key, "-c", "base.yaml", *words)
    assert (status, err) == (0, "")
    lines = out.splitlines()
    notes = {
        above.split(" ")[0]: line.strip()
        for above, line in pairwise(lines)
        if line.startswith("    ")
    }
    return get_rows(out), notes


@pytest.mark.parametrize(
    ("key", "row", "meaning"),
    [
        ("trainer.grad_clip_norm", ["null", "default"], "the largest L2 norm of the gradient"),
        ("trainer.epochs", ["2", "base.yaml:11:11"], "the number of epochs."),
        ("optimizer.args.lr", ["0.001", "base.yaml:7:10"], "learning rate (default: 1e-3)."),
        ("optimizer.args.betas", ["[0.9, 0.999]", "default"], "coefficients used for computing"),
        ("optimizer.type", ["Adam", "base.yaml:6:3"], "Implements Adam algorithm."),
        ("trainer.debug.profile.wait", ["1", "default"], "the number of batches to skip first."),
        ("trainer.wandb.project", ["(missing)", "(not set)"], "the project in W&B."),
        ("transfer.freeze", ["null", "default"], "patterns of names, ``all_but_head``, or"),
        ("transfer.thaw.1.epoch", ["(missing)", "(not set)"], "the first epoch in which"),
        ("name", ["probe", "base.yaml:1:1", "str"], "Names the folder of the runs."),
        ("seed", ["(not set)", "", "int"], "Of all random numbers; 123 by default."),
        ("lr_scheduler", ["(not set)"], "Changes the learning rate."),
        ("metrics.1.name", ["top_k_acc", "default", "str"], "What it is logged as."),
    ],
)
def test_a_key_is_explained_by_its_docstring(
    look: Look, key: str, row: list[str], meaning: str
) -> None:
    rows, notes = explain(look, key)
    assert rows[key][: len(row)] == [cell for cell in row if cell]
    assert notes[key].startswith(meaning)
    is_said = "It is not set in the config" in look("explain", key, "-c", "base.yaml")[1]
    assert is_said == ("default" in row)


def test_the_patterns_of_several_optimizers_are_explained(look: Look) -> None:
    optimizers = "optimizer=[{params: classifier, type: SGD}, {params: [a, b], type: Adam}]"
    rows, notes = explain(look, "optimizer", optimizers)
    assert rows["optimizer.0.params"][0] == "classifier"
    assert rows["optimizer.1.params"][0] == "[a, b]"
    assert notes["optimizer.0.params"] == "Patterns of names, or `rest`."
    rows, _ = explain(look, "optimizer", "optimizer=[{type: SGD}]")
    assert rows["optimizer.0.params"] == ["(missing)", "(not set)", "str | list[str]"]


def test_the_weight_of_a_loss_is_explained(look: Look) -> None:
    losses = "loss=[{type: cross_entropy}, {type: nll_loss, weight: 2}]"
    assert explain(look, "loss.0.weight", losses)[0]["loss.0.weight"] == ["1", "default", "float"]
    rows, notes = explain(look, "loss.1.weight", losses, "loss.1.weight=3")
    assert rows["loss.1.weight"] == ["3", f"loss.1.weight=3 (was 2 in {losses})", "float"]
    assert notes["loss.1.weight"] == "Its factor in the sum; 1 by default."


def test_a_section_lists_all_its_keys_with_a_sentence_each(look: Look) -> None:
    rows, notes = explain(look, "trainer")
    assert {"trainer.epochs", "trainer.compile", "trainer.len_epoch"} <= rows.keys() & notes.keys()
    assert notes["trainer.ema_decay"].endswith("null for none.")
    assert "trainer.debug.statistics" not in rows
    assert "trainer.debug.statistics" in explain(look, "trainer.debug")[0]


def test_a_type_lists_the_names_that_it_takes(look: Look) -> None:
    last = look("explain", "lr_scheduler.type", "-c", "base.yaml", "lr_scheduler.type=StepLR")[1]
    assert "CosineAnnealingLR, " in last.splitlines()[-1]


def test_an_option_that_takes_a_component_lists_the_names(look: Look) -> None:
    sampler = "search={sampler: {type: TPESampler}, space: {seed: [1, 2]}}"
    out = look("explain", "search.sampler.type", "-c", "base.yaml", sampler)[1]
    assert "Names without a path: grid, random, tpe, " in out
    rows, notes = explain(look, "search.sampler.args", sampler)
    assert rows["search.sampler.args.n_startup_trials"][:2] == ["10", "default"]
    assert notes["search.sampler.args.n_ei_candidates"].startswith("Number of candidate samples")


def test_a_search_is_described_below_its_table(look: Look) -> None:
    search = "search={sampler: grid, space: {optimizer.args.lr: {low: 0, high: 1, step: 0.5}}}"
    lines = look("explain", "search", "-c", "base.yaml", search, "repeat.seeds=4")[1].splitlines()
    assert lines[-3:] == [
        "optimizer.args.lr: from 0 to 1 in steps of 0.5",
        "A grid of 3 trials.",
        "3 trials of 4 seeds: 12 runs.",
    ]


@pytest.mark.parametrize("words", [["trainer"], ["trainer.epoks"], []])
def test_a_mistake_is_shown_below_the_table(look: Look, words: list[str]) -> None:
    _, out, _ = look("explain", *words, "-c", "base.yaml", "trainer.epoks=3")
    assert out.splitlines()[-2:] == [
        "This is wrong:",
        "trainer.epoks=3: trainer.epoks: unknown key (did you mean 'epochs'?)",
    ]


def test_without_a_key_the_sections_are_listed(look: Look) -> None:
    status, out, _ = look("explain", "-c", "base.yaml")
    rows = get_rows(out)
    assert status == 0
    assert rows["optimizer"] == ["Adam", "base.yaml:5:1"]
    assert rows["metrics"] == ["accuracy, top_k_acc", "base.yaml:10:1"]
    assert rows["trainer"] == ["1 keys", "base.yaml:11:1"]
    assert rows["valid_data_loader"] == ["(not set)"]
    assert "    The model." in out


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("trainer.debug.statistic", "trainer.debug.statistics"),
        ("lr_schduler", "lr_scheduler"),
        ("transfr", "transfer"),
    ],
)
def test_an_unknown_key_that_is_not_in_the_config_gets_a_hint(
    look: Look, key: str, hint: str
) -> None:
    message = f"{key}: the config has no such key (did you mean '{hint}'?)\n"
    assert look("explain", key, "-c", "base.yaml") == (2, "", message)


class Numpy:
    """Scales.

    Parameters
    ----------
    alpha, beta : float, default=1.0
        How strong. It is
        a factor.

    gamma : int
        Another.
    """


class Sphinx:
    """Scales.

    :param alpha: How strong. It is
        a factor.
    :type alpha: float
    :param int gamma: Another.
    """


class Google:
    """Scales.

    Args:
        alpha (float): How strong. It is
            a factor.
        gamma (dict[str, int],
            optional): not read
        gamma:
            Another.
    """


class Child(Google):
    """Inherits.

    Args:
        alpha, gamma: as for Google.
        delta: as for nobody.
    """


@pytest.mark.parametrize("kind", [Numpy, Sphinx, Google, Child])
def test_descriptions_in_all_styles_are_found(kind: Any) -> None:
    assert describe_parameter("alpha", kind) == "How strong. It is a factor."
    assert describe_parameter("gamma", kind) == "Another."
    assert describe_parameter("epsilon", kind) == ""


def test_a_reference_is_better_than_nothing() -> None:
    assert describe_parameter("delta", Child) == "as for nobody."
