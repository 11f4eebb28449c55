"""A run keeps its tokenizer: a resume, a test and other data have the same one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from data_loader.tokenizer import NewTokenizer, load_tokenizer, train_tokenizer
from tests.data_loader.test_texts import write_reviews
from tests.forked import run_forked
from tests.model.test_model_text import make_config
from utils.errors import UserError

pytest.importorskip("tokenizers")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run, whose training texts have changed after it."""
    folder = tmp_path_factory.mktemp("texts")
    config = folder / "config.json"
    config.write_text(json.dumps(make_config(folder, monitor="max val_accuracy")))
    train(0, "-c", config, "--run-id", "first")
    write_reviews(folder / "train.csv", seed=1)
    text = (folder / "train.csv").read_text().replace("film", "movie")
    (folder / "train.csv").write_text(text)
    return folder / "saved" / "reviews" / "first"


def train(status: int, *words: Any) -> str:
    return run(status, "train.py", *words)


def run(status: int, *words: Any) -> str:
    ended = run_forked(*words)
    assert ended.returncode == status, ended.stderr
    return ended.stdout + ended.stderr


def read_tokens(folder: Path) -> dict[str, int]:
    tokens: dict[str, int] = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    return tokens


def test_a_resume_and_a_test_have_the_tokenizer_of_the_run(trained: Path) -> None:
    before = read_tokens(trained / "tokenizer")
    assert "trained" not in train(0, "-r", trained, "trainer.epochs=2")
    assert "trained" not in run(0, "test.py", "-r", trained)
    assert read_tokens(trained / "tokenizer") == before
    assert "Ġfilm" in before


def test_other_settings_than_those_of_the_run_are_an_error(trained: Path) -> None:
    key = "data_loader.args.dataset.args.tokenizer.vocab_size"
    text = train(2, "-r", trained, "trainer.epochs=3", f"{key}=310")
    assert f"{key}: 310, but the tokenizer of this run in" in text
    assert "has 300" in text


def test_another_vocabulary_than_that_of_the_run_is_an_error(trained: Path) -> None:
    other = trained.parent / "other"
    train_tokenizer(NewTokenizer(300), ["other words"] * 3).save_pretrained(other)
    key = "data_loader.args.dataset.args.tokenizer"
    text = run(2, "test.py", "-r", trained, f"{key}={other}")
    assert "has another vocabulary than the tokenizer of this run" in text
    run(0, "test.py", "-r", trained, f"{key}={trained / 'tokenizer'}")


@pytest.mark.parametrize("model_type", ["bert", "gpt2", "llama", "t5", "roberta", "albert"])
def test_a_model_without_a_tokenizer_is_an_error(tmp_path: Path, model_type: str) -> None:
    """The library makes a tokenizer for it that knows no word."""
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    with pytest.raises(UserError, match="holds no tokenizer"):
        load_tokenizer(tmp_path)


def test_a_checkpoint_without_its_tokenizer_is_an_error(trained: Path, tmp_path: Path) -> None:
    shutil.copy(trained / "model_best.pt", tmp_path)
    shutil.copy(trained / "config.json", tmp_path)
    text = run(2, "test.py", "-r", tmp_path / "model_best.pt")
    assert "tokenizer is missing, with which the run was trained; copy it there" in text


def test_the_report_shows_texts_without_reading_them_as_html(trained: Path) -> None:
    file = trained.parents[2] / "train.csv"
    text = file.read_text().replace("plot", "<b>plot</b>")
    file.write_text(text)
    run(0, "test.py", "-r", trained)
    page = (trained / "report.html").read_text()
    assert "&lt;b&gt;plot&lt;/b&gt;" in page
    assert "<b>plot</b>" not in page
    head, first, *_ = (trained / "test" / "predictions.csv").read_text().splitlines()
    assert head.endswith(",text")
    assert first.split(",")[5]
