"""A kernel of Jupyter: the cells of the README, what they show, and the stop button."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from jupyter_client.manager import start_new_kernel
from nbclient import NotebookClient

from tests.helpers import copy_project, differences, load
from tests.test_readme import list_blocks

CELLS = [b.text for b in list_blocks("base/notebook/README.md") if b.language == "python"]
TIMEOUT = 120  # seconds for a cell


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project; kernels that are started meanwhile find this Python as `python`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
        patch.setenv("CUDA_VISIBLE_DEVICES", "")
        patch.setenv("PYTHONPATH", "")
        patch.setenv("IPYTHONDIR", str(tmp_path_factory.mktemp("ipython")))
        yield copy_project(tmp_path_factory.mktemp("notebook") / "project")


@pytest.fixture(scope="module")
def outputs(project: Path) -> list[list[Any]]:
    """What each cell of the README shows."""
    cells = [nbformat.v4.new_code_cell(text) for text in CELLS]
    notebook = nbformat.v4.new_notebook(cells=cells)
    resources = {"metadata": {"path": str(project)}}
    NotebookClient(notebook, timeout=TIMEOUT, resources=resources).execute()
    return [cell.outputs for cell in notebook.cells]


def list_kinds(outputs: list[Any]) -> list[str]:
    return [output.get("name", output.output_type) for output in outputs]


def test_the_last_cell_of_the_readme_repeats_the_first_training_bit_by_bit(
    outputs: list[list[Any]], project: Path
) -> None:
    runs = [project / "saved/digits" / name for name in ("first", "command")]
    assert len(outputs) == 10
    in_cell, by_command = (load(run / "checkpoint-epoch3.pt") for run in runs)
    for key in ("state_dict", "optimizer", "random"):
        assert differences(in_cell.get(key), by_command.get(key)) == []
    rows = [read_rows(run) for run in runs]
    assert rows[0] == rows[1]


def read_rows(run: Path) -> list[dict[str, Any]]:
    lines = (run / "log/metrics.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def test_a_training_is_one_table_and_a_few_lines(outputs: list[list[Any]]) -> None:
    training = outputs[1]
    assert "stderr" not in list_kinds(training)
    tables = [
        output for output in training if "<table>" in output.get("data", {}).get("text/html", "")
    ]
    assert len(tables) == 1
    assert tables[0].data["text/html"].count("<tr>") == 4  # the head and three epochs
    lines = "".join(output.text for output in training if output.output_type == "stream")
    assert len(lines.splitlines()) < 12
    assert "epoch 1/3" not in lines
    assert "Linear(" not in lines  # the layers are folded


def test_the_history_and_the_report_show_themselves(outputs: list[list[Any]]) -> None:
    (history,), (report,) = outputs[2], outputs[4]
    assert "* best" in history.data["text/plain"]
    assert "<table>" in history.data["text/html"]
    page = report.data["text/html"]
    assert "<svg" in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page
    assert "body {" not in page  # the style of the notebook stays


def test_an_evaluation_shows_its_numbers_only(outputs: list[list[Any]]) -> None:
    assert "execute_result" in list_kinds(outputs[3])
    assert "stderr" not in list_kinds(outputs[3])
    assert "accuracy" in outputs[3][-1].data["text/plain"]


def test_training_goes_on_in_a_later_cell(outputs: list[list[Any]], project: Path) -> None:
    assert [row["epoch"] for row in read_rows(project / "saved/digits/tiny")] == [1, 2, 3, 4, 5]


STOPPED = """
from train import run
trainer = run("config.json", "trainer.epochs=2000", run_id="stopped")
print("status", trainer.stop.status)
"""
CONTINUED = """
last = trainer.history[-1]["epoch"]
trainer.epochs = last + 2
trainer.train()
print("epochs", [row["epoch"] for row in trainer.history] == list(range(1, last + 3)))
"""


def test_the_stop_button_writes_a_checkpoint_and_returns_the_trainer(project: Path) -> None:
    manager, client = start_new_kernel(cwd=str(project))
    printed: list[str] = []

    def show(message: Any) -> None:
        content = message["content"]
        printed.append(content.get("text", ""))
        html = content.get("data", {}).get("text/html", "")
        if "<table>" in html and not any("SIGINT" in text for text in printed) and not pressed:
            pressed.append(True)
            manager.interrupt_kernel()

    pressed: list[bool] = []
    try:
        reply = client.execute_interactive(STOPPED, timeout=TIMEOUT, output_hook=show)
        assert reply["content"]["status"] == "ok"
        assert "Stopped by SIGINT; the checkpoint is written." in "".join(printed)
        assert "status 130" in "".join(printed)
        reply = client.execute_interactive(CONTINUED, timeout=TIMEOUT, output_hook=show)
        assert reply["content"]["status"] == "ok"
        assert "epochs True" in "".join(printed)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
