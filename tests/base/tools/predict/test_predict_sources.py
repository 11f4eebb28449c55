"""``test.py --predict``: what a dataset reads, in batches, with errors of single inputs."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset

from base.loop.losses import ModelLoss
from base.tools.predict.predict import predict
from tests.base.tools.predict.subjects import Fixed, Readable, make_subject, read_table
from tests.base.tools.programs import add_module
from utils.errors import UserError

MODULE = """
import torch
from base import BaseDataLoader
from tests.base.tools.predict.subjects import Readable

class Loader(BaseDataLoader):
    def __init__(self, batch_size: int = 4, training: bool = True):
        points = torch.arange(32.0).reshape(16, 2)
        super().__init__(Readable(points, (points[:, 0] > 15).long()), batch_size, False)
"""


@pytest.fixture
def data() -> Readable:
    return Readable(torch.arange(12.0).reshape(6, 2), torch.tensor([0, 1, 2, 0, 1, 2]))


def add_up(points: torch.Tensor) -> torch.Tensor:
    """Logits of three classes, of which the sum of a row selects one."""
    return nn.functional.one_hot((points @ torch.ones(2)).long() % 3, 3) * 9.0


@pytest.mark.parametrize("wrap", [lambda data: data, lambda data: Subset(data, [1, 2, 3])])
def test_the_dataset_reads_the_inputs_and_rows_keep_their_order(
    tmp_path: Path, data: Readable, wrap: Any, caplog: pytest.LogCaptureFixture
) -> None:
    lines = [f"{number} 1" for number in range(150)]
    lines[70] = "1 x"  # cannot be read
    lines[90] = "1 2 3"  # does not fit the others
    (tmp_path / "points.txt").write_text("\n".join(lines))
    subject = make_subject(tmp_path, add_up, nn.CrossEntropyLoss(), wrap(data))
    with caplog.at_level(logging.WARNING, "test"):
        done = predict(subject, tmp_path / "points.txt")
    assert (done.path, done.total, done.failed) == (
        tmp_path / "test" / "predict-points.txt.csv",
        150,
        2,
    )
    rows = read_table(done.path)
    assert [row["name"] for row in rows] == [f"line {number}" for number in range(1, 151)]
    expected = [str((number + 1) % 3) for number in range(150)]
    expected[70] = expected[90] = ""
    assert [row["prediction"] for row in rows] == expected
    assert [record.getMessage().partition(": ")[0] for record in caplog.records] == [
        "line 71",
        "line 91",
    ]


def test_probabilities_of_all_classes_go_into_json_lines(tmp_path: Path, data: Readable) -> None:
    data.classes = ["a", "b", "ü"]  # type: ignore[attr-defined]
    (tmp_path / "points.txt").write_text("1 1\n\n")
    subject = make_subject(tmp_path, add_up, nn.CrossEntropyLoss(), data)
    done = predict(subject, tmp_path / "points.txt", tmp_path / "out.jsonl")
    first, second = map(json.loads, done.path.read_text("utf-8").splitlines())
    assert first["prediction"] == "ü"
    assert list(first) == ["name", "prediction", "confidence", *map("probability_{}".format, "abü")]
    assert first["probability_ü"] == first["confidence"] == pytest.approx(1, abs=1e-3)
    assert second == dict.fromkeys(first) | {"name": "line 2"}


class Texts(Dataset[Any]):
    """Words of different lengths in dicts, as for a tokenizer."""

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return self.encode("ab" * (index + 1)) | {"labels": torch.tensor(index % 2)}

    def __len__(self) -> int:
        return 4

    @staticmethod
    def encode(text: str) -> dict[str, torch.Tensor]:
        codes = torch.tensor([ord(letter) for letter in text])
        return {"input_ids": codes, "attention_mask": torch.ones_like(codes)}

    def read(self, path: Path) -> Iterator[tuple[str, dict[str, torch.Tensor]]]:
        for line in path.read_text().split():
            yield line, self.encode(line)


def pad(samples: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    batch = {key: [sample[key] for sample in samples] for key in samples[0]}
    labels = {"labels": torch.stack(batch.pop("labels"))} if "labels" in batch else {}
    return {k: pad_sequence(v, batch_first=True) for k, v in batch.items()} | labels


@pytest.mark.parametrize("takes_labels", [True, False])
def test_dicts_are_collated_by_the_loader_for_a_model_that_computes_its_loss(
    tmp_path: Path, takes_labels: bool
) -> None:
    def run(input_ids: Any, attention_mask: Any, labels: Any = None) -> dict[str, torch.Tensor]:
        if labels is not None and not takes_labels and len(labels) == 3:
            raise ValueError("wrong labels")
        length = attention_mask.sum(1)
        return {"loss": input_ids.sum() * 0.0, "logits": torch.stack([length, 5 - length], 1) * 1.0}

    model = Fixed(run)
    loader = DataLoader(Texts(), 4, collate_fn=pad)
    subject = make_subject(tmp_path, model, ModelLoss(model, model), loader)
    (tmp_path / "words").write_text("a abcd ab")
    rows = read_table(predict(subject, tmp_path / "words").path)
    assert [(row["name"], row["prediction"]) for row in rows] == [
        ("a", "1"),
        ("abcd", "0"),
        ("ab", "1"),
    ]


def test_data_that_nothing_can_read_name_the_method_to_add(tmp_path: Path) -> None:
    data = TensorDataset(torch.zeros(4, 3), torch.zeros(4))
    (tmp_path / "a.csv").write_text("1,2,3")
    subject = make_subject(tmp_path, lambda x: x[:, 0], nn.MSELoss(), data)
    with pytest.raises(UserError, match=r"read\(self, path: Path\) -> Iterator\[tuple\[str, Any\]"):
        predict(subject, tmp_path / "a.csv")


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([torch.zeros(2)], "Readable.read yields a tensor"),
        ([("a", torch.zeros(2, 2))], "a tensor of 2 dimensions .* instead of a tensor of 1"),
        ([("a", torch.zeros(2, dtype=torch.int64))], "int64 instead of"),
        ([], "has no input"),
        ([("a", ValueError("x"))], "none of 1 inputs can be predicted"),
        ([("a", torch.zeros(3))], "the model fails on a: RuntimeError: no"),
    ],
)
def test_a_wrong_read_is_an_error_of_one_line(
    tmp_path: Path, data: Readable, entries: list[Any], message: str
) -> None:
    def run(points: torch.Tensor) -> torch.Tensor:
        if points.shape[1] != 2:
            raise RuntimeError("no")
        return add_up(points)

    data.read = lambda path: iter(entries)  # type: ignore[method-assign,misc,assignment]
    subject = make_subject(tmp_path, run, nn.CrossEntropyLoss(), data)
    with pytest.raises(UserError, match=message) as error:
        predict(subject, tmp_path)
    assert len(str(error.value).splitlines()) == 1
    assert not list((tmp_path / "test").glob("*"))


def test_an_error_in_the_middle_keeps_the_rows_before_it(tmp_path: Path, data: Readable) -> None:
    def read(path: Path) -> Iterator[tuple[str, Any]]:
        yield "a", torch.ones(2)
        raise OSError("the disk is gone")

    data.read = read  # type: ignore[method-assign]
    subject = make_subject(tmp_path, add_up, nn.CrossEntropyLoss(), data)
    done = predict(subject, tmp_path)
    assert (done.total, done.failed) == (2, 1)
    assert [row["prediction"] for row in read_table(done.path)] == ["2", ""]


def test_the_command_ends_in_status_3_if_an_input_has_no_prediction(
    tmp_path: Path, program: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_module(monkeypatch, "data_loader", "readable", MODULE)
    config = {
        "name": "points",
        "n_gpu": 0,
        "arch": {"type": "mlp.MLP", "args": {"in_features": 2, "out_features": 2}},
        "data_loader": {"type": "readable.Loader"},
        "optimizer": {"type": "SGD", "args": {"lr": 0.01}},
        "loss": "cross_entropy",
        "trainer": {"epochs": 1, "save_dir": str(tmp_path), "tensorboard": False},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    done = program("train.py", "-c", tmp_path / "config.json", "--run-id", "run")
    assert done.status == 0, done.err
    run = ["test.py", "-r", tmp_path / "points" / "run", "--predict", tmp_path / "lines.txt"]
    (tmp_path / "lines.txt").write_text("1 2\n3 4\n")
    assert program(*run).status == 0
    (tmp_path / "lines.txt").write_text("1 2\nx\n3 4\n")
    done = program(*run)
    assert done.status == 3
    assert "line 2: cannot be read: could not convert" in done.out
    done = program(*run, "--output", tmp_path / "out.txt")
    assert (done.status, done.err.strip()) == (
        2,
        f"--output {tmp_path / 'out.txt'}: must end in .csv or .jsonl",
    )
