"""``test.py`` and ``--predict`` of language models: the loss of each text, and masked tokens."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy

from base.loop.task import TaskFacts
from base.tools.collectors.tokens import TokenScores
from tests.data_loader.test_tokenizer import run, train
from tests.model.test_model_text import SMALL, make_config

pytest.importorskip("transformers")


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("task", ["CausalLM", "MaskedLM"])
def test_a_language_model_has_rows_for_texts(tmp_path: Path, task: str) -> None:
    config: dict[str, Any] = make_config(tmp_path)
    is_causal = task == "CausalLM"
    sizes = SMALL | ({"is_decoder": True} if is_causal else {})
    config["arch"]["args"] = {"task": task, "config": sizes}
    dataset = config["data_loader"]["args"]["dataset"]["args"]
    dataset["target"] = "next_token" if is_causal else "masked_token"
    config["metrics"] = []
    (tmp_path / "config.json").write_text(json.dumps(config))
    train(0, "-c", tmp_path / "config.json", "--run-id", "a")
    folder = tmp_path / "saved" / "reviews" / "a"
    run(0, "test.py", "-r", folder)
    rows = read(folder / "test" / "predictions.csv")
    known = [row for row in rows if row["loss"]]
    counts = [int(row["tokens"]) for row in known]
    losses = [float(row["loss"]) for row in known]
    mean = sum(n * loss for n, loss in zip(counts, losses, strict=True)) / sum(counts)
    (file,) = (folder / "test").glob("*.json")
    assert mean == pytest.approx(json.loads(file.read_text())["metrics"]["loss"], rel=1e-4)
    assert float(known[0]["perplexity"]) == pytest.approx(math.exp(losses[0]), rel=1e-4)
    assert "Texts with the highest loss" in (folder / "report.html").read_text()

    (tmp_path / "new.txt").write_text("a [MASK] film\nfine\n" + rows[0]["text"] + "\n")
    run(0, "test.py", "-r", folder, "--predict", tmp_path / "new.txt")
    found = read(folder / "test" / "predict-new.txt.csv")
    if is_causal:
        assert found[2]["loss"] == rows[0]["loss"]
        assert found[2]["tokens"] == rows[0]["tokens"]
    else:
        assert found[0]["prediction"].startswith("a ")
        assert "MASK" not in found[0]["prediction"]
        assert found[2]["prediction"] == rows[0]["text"]


def test_scores_of_ranks_are_joined_and_a_training_keeps_none() -> None:
    torch.manual_seed(0)
    output, target = torch.randn(3, 4, 5), torch.randint(0, 5, (3, 4))
    target[1] = -100
    facts = TaskFacts()
    assert TokenScores.fits(output, target, facts)
    assert not TokenScores.fits(output, target, TaskFacts(limit=1e6))
    assert not TokenScores.fits(output, target, TaskFacts(cross_entropy))
    states = []
    for rows in (slice(0, 2), slice(2, 3)):
        collector = TokenScores(facts)
        collector.add(output[rows], target[rows], len(output[rows]))
        states.append(collector.state_dict())
    scores = TokenScores(facts).merge(states).list_scores()
    assert [score.tokens for score in scores] == [4, 0, 4]
    assert scores[1].loss is None
    assert scores[2].loss == pytest.approx(cross_entropy(output[2], target[2]).item())
