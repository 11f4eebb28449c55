"""run(): trains in a cell as the command does, also with the classes of the cell."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from base.notebook.errors import make_run_error
from tests.base.notebook.cells import run_cells
from tests.forked import run_forked
from tests.helpers import ROOT, copy_project, differences, load


def read_session(folder: Path, index: int = -1) -> dict[str, Any]:
    found = json.loads((folder / "provenance.json").read_text("utf-8"))["sessions"][index]
    assert isinstance(found, dict)
    return found


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "log/metrics.jsonl").read_text("utf-8").splitlines()
    return [{**json.loads(line), "seconds": 0} for line in lines]


def test_a_cell_and_the_command_have_the_same_bits(tmp_path: Path) -> None:
    words = ["trainer.epochs=2", "~lr_scheduler"]
    run_cells(
        tmp_path,
        """
        import torch
        before = torch.get_rng_state()
        trainer = run("config.json", "trainer.epochs=2", "~lr_scheduler", run_id="cell",
                      optimizer={"args": {"lr": 0.002}})
        assert trainer.last_log["epoch"] == 2, trainer.last_log
        assert torch.equal(torch.get_rng_state(), before)  # nothing is drawn from the cell's
        """,
    )
    command = ["-c", "config.json", *words, "optimizer.args.lr=0.002", "--run-id", "command"]
    done = run_forked(ROOT / "train.py", *command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    cell, other = (tmp_path / "saved/digits" / name for name in ("cell", "command"))
    assert (cell / "config.json").read_text() == (other / "config.json").read_text()
    assert read_metrics(cell) == read_metrics(other)
    best = (load(path / "model_best.pt") for path in (cell, other))
    assert not differences(*(checkpoint["state_dict"] for checkpoint in best))
    session = read_session(cell)
    assert session["notebook"]
    assert session["outcome"] == "finished"
    again = [word.replace("cell", "again") for word in session["command"][1:]]
    done = run_forked(*again, cwd=tmp_path)  # the command that provenance.json names
    assert done.returncode == 0, done.stderr
    new = tmp_path / "saved/digits/again"
    assert (cell / "config.json").read_text() == (new / "config.json").read_text()


COMPONENTS = """
import torch

def right(output, target):
    return (output.argmax(1) == target).float().mean()

def my_loss(output, target):
    return nn.functional.cross_entropy(output, target)

class Slow(torch.optim.SGD):
    pass

from trainer.trainer import Trainer

class MyTrainer(Trainer):
    pass

trainer = run("config.json", run_id="cell", arch={"type": Net, "args": {"hidden": 8}},
              metrics=["accuracy", right], loss=my_loss, trainer={"epochs": 1},
              optimizer={"type": Slow, "args": {"lr": 0.1}})
assert type(trainer.model) is Net
assert type(trainer.optimizer) is Slow
assert "val_right" in trainer.last_log
trainer = run(resume=trainer.checkpoint_dir, arch=Net, metrics=["accuracy", right],
              loss=my_loss, optimizer=Slow, trainer={"epochs": 2})
assert trainer.last_log["epoch"] == 2
assert trainer.model.layers[1].out_features == 8
trainer = run("config.json", "trainer.epochs=1", arch=Net, trainer=MyTrainer)
assert type(trainer) is MyTrainer
assert trainer.config["arch"] == {"type": "__main__.Net"}  # no args of another type
"""


def test_the_classes_of_a_cell_are_components(tmp_path: Path) -> None:
    project = copy_project(tmp_path / "project")
    run_cells(tmp_path, COMPONENTS, project)
    folder = tmp_path / "saved/digits/cell"
    session = read_session(folder)
    assert session["command"] is None
    assert sorted(session["sources"]) == ["arch.type", "loss.type", "metrics.1", "optimizer.type"]
    done = run_forked(project / "train.py", "-r", folder, "trainer.epochs=3", cwd=tmp_path)
    assert done.returncode == 2
    first, *others = done.stderr.splitlines()
    assert len(others) == 3
    assert "arch.type: Net was defined in a notebook" in first
    assert "Save it as model/net.py" in first
    files = {"arch.type": "model/net", "loss.type": "model/my_loss", "metrics.1": "model/right"}
    files["optimizer.type"] = "trainer/slow"
    words = []
    for key, file in files.items():
        source = session["sources"][key]
        head = "import torch\nfrom torch import nn\n\n"
        (project / f"{file}.py").write_text(head + source, encoding="utf-8")
        name = source.split()[1].partition("(")[0].rstrip(":")
        words.append(f"{key}={Path(file).name}.{name}")
    done = run_forked(project / "train.py", "-r", folder, *words, "trainer.epochs=3", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "epoch 3/3" in done.stdout


def test_mistakes_are_lines(tmp_path: Path) -> None:
    done = run_cells(
        tmp_path,
        """
        expect("nope: no such config", "nope")
        expect("did you mean 'hidden'", "config.json", arch={"type": Net, "args": {"hiden": 2}})
        expect("is an object of Net; give the class", "config.json", arch=Net())
        expect("needs a name", "config.json", loss=lambda output, target: 0)
        expect("run(trainer=…): trainer.epochs: wants int", trainer={"epochs": "x"})
        expect("'builtins.dict' is not in a trusted library", "config.json", arch=dict)
        tensor = nn.Linear(1, 1).weight.data
        expect("not a Tensor", "config.json", data_loader={"args": {"x": tensor}})
        expect("give it as text: 'data_loader.args.batch_size=…'", "config.json", batch_size=2)
        expect("give it as text: 'optimizer.args.lr=…'", "config.json", learning_rate=0.1)
        expect("give it as text: 'trainer.epochs=…'", "config.json", epochs=2)
        expect("give it as text: 'loss.x=…'", "config.json", **{"loss.x": 2})
        expect("unknown keyword (did you mean 'run_id'?)", "config.json", runid="x")
        expect("options of run() are the keywords", "config.json", "--check")
        expect("wants the path of a config", 3)
        expect("resume=3", resume=3)
        expect("-d gpu: must be cpu", device="gpu")
        expect("a search makes several runs", search={"trials": 2})
        expect("n_gpu=0 parallel.type=ddp parallel.args.num_processes=2 trainer.epochs=2",
               "trainer.epochs=2", n_gpu=0, parallel={"type": "ddp", "args": {"num_processes": 2}})
        expect("a dict as the config starts a new run", {"name": "x"}, resume="cells.py")
        expect("arch: is missing", {"name": "x"})
        assert run("trainer.epochs=1", mine=3).last_log["epoch"] == 1  # a key of the project
        run("nope")
        """,
        is_failing=True,
    )
    assert "nope: no such config" in done.stderr.splitlines()[-1]
    assert "During handling" not in done.stderr
    assert len(list((tmp_path / "saved/digits").iterdir())) == 1  # that of the run


def test_a_lost_worker_may_lack_a_class_of_a_cell() -> None:
    error = make_run_error(RuntimeError("DataLoader worker (pid(s) 7) exited unexpectedly"))
    assert "cannot load a class of a cell" in str(error)
    error = make_run_error(RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed."))
    assert "cell" not in str(error)


def test_a_dict_is_a_config(tmp_path: Path) -> None:
    run_cells(
        tmp_path,
        """
        from pathlib import Path
        config = {"extends": "config.json", "arch": {"type": Net, "args": {
                  "~num_classes": None, "~in_channels": None, "hidden": 4}},
                  "trainer": {"epochs": 1, "save_dir": Path("elsewhere")}}
        trainer = run(config, run_id="x")
        assert trainer.checkpoint_dir == Path("elsewhere/digits/x")
        assert trainer.model.layers[1].out_features == 4
        """,
    )
