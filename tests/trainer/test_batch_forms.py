"""Every form of a batch trains, validates and resumes to the same numbers."""

from __future__ import annotations

from collections import UserDict, namedtuple
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import TensorDataset, default_collate

from base import BaseDataLoader
from tests.helpers import differences, load, make_trainer, small_config
from trainer import Trainer

NamedBatch = namedtuple("NamedBatch", ["x", "z", "target"])


class Encoding(UserDict[str, Any]):
    """A mapping that is not a dict, as HuggingFace's BatchEncoding."""


@dataclass
class Pair:
    x: torch.Tensor
    z: torch.Tensor


class Graphs:
    """A batch of graphs, which says how many there are."""

    def __init__(self, x: torch.Tensor, z: torch.Tensor, y: torch.Tensor) -> None:
        self.nodes, self.y = torch.cat([x, z]), y
        self.num_graphs = len(y)

    def to(self, device: torch.device) -> Graphs:
        return Graphs(*self.nodes.to(device).chunk(2), self.y.to(device))


FORMS: dict[str, Any] = {
    "tuple": lambda x, z, y: (x, z, y),
    "mapping": lambda x, z, y: Encoding({"x": x, "z": z, "labels": y}),
    "named tuple": NamedBatch,
    "dataclass": lambda x, z, y: (Pair(x, z), y),
    "lists": lambda x, z, y: [list(x), list(z), y],
    "nested": lambda x, z, y: {"inputs": {"x": x, "rest": [{"z": z}]}, "target": y},
    "graphs": Graphs,
}


class FormLoader(BaseDataLoader):
    def __init__(self, form: str, num_workers: int = 0) -> None:
        inputs = torch.randn(2, 50, 4, generator=torch.Generator().manual_seed(0))
        dataset = TensorDataset(*inputs, (inputs.sum(0)[:, 0] > 0).long())
        self.form = FORMS[form]
        super().__init__(dataset, 8, True, 0.25, num_workers, self.collate)

    def collate(self, samples: list[Any]) -> Any:
        return self.form(*default_collate(samples))


class FormNet(torch.nn.Linear):
    def __init__(self) -> None:
        super().__init__(8, 2)

    def forward(self, *args: Any, **kwargs: Any) -> torch.Tensor:  # type: ignore[override]
        inputs: Any = args or kwargs
        if "inputs" in kwargs:
            inputs = kwargs["inputs"]["x"], kwargs["inputs"]["rest"][0]["z"]
        elif kwargs:
            inputs = kwargs["x"], kwargs["z"]
        elif isinstance(args[0], Pair):
            inputs = astuple(args[0])
        elif isinstance(args[0], Graphs):
            inputs = args[0].nodes.chunk(2)
        tensors = [torch.stack(item) if isinstance(item, list) else item for item in inputs]
        return super().forward(torch.cat(tensors, 1))


class GraphTrainer(Trainer):
    @staticmethod
    def forward(model: Any, batch: Any) -> tuple[Any, Any]:
        return model(batch), batch.y


@pytest.fixture(autouse=True)
def project(monkeypatch: pytest.MonkeyPatch) -> None:
    modules = {
        FormLoader: "data_loader.data_loaders",
        FormNet: "model.model",
        GraphTrainer: "trainer.trainer",
    }
    for kind, module in modules.items():
        monkeypatch.setattr(f"{module}.{kind.__name__}", kind, raising=False)
        monkeypatch.setattr(kind, "__module__", module)


def train(tmp_path: Path, form: str, epochs: int, resume: Path | None = None) -> Any:
    kind = "GraphTrainer" if form == "graphs" else "Trainer"
    config = small_config(tmp_path, type=kind, epochs=epochs)
    config["data_loader"] = {"type": "FormLoader", "args": {"form": form}}
    trainer = make_trainer(config | {"arch": {"type": "FormNet"}}, form, resume)
    trainer.train()
    return trainer


@pytest.mark.parametrize("form", list(FORMS)[1:])
def test_a_form_gives_the_numbers_of_a_tuple_and_resumes(tmp_path: Path, form: str) -> None:
    expected = train(tmp_path, "tuple", 2)
    folder = train(tmp_path, form, 1).checkpoint_dir
    trainer = train(tmp_path, form, 2, folder / "checkpoint-epoch1.pt")
    assert trainer.last_log == expected.last_log
    states = [load(run.checkpoint_dir / "checkpoint-epoch2.pt") for run in (expected, trainer)]
    assert differences(states[0]["state_dict"], states[1]["state_dict"]) == []
