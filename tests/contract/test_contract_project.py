"""A pytorch-template project works when its folders are laid over this repository."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from contract_project import Done, Project, load_module
from torch.utils.data import DataLoader, Subset

RUN = Path("saved/Clouds/first")


def read_run(folder: Path) -> list[dict[str, Any]]:
    """Returns the lines of a run's metrics.jsonl."""
    return [
        json.loads(line) for line in (folder / "log" / "metrics.jsonl").read_text().splitlines()
    ]


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Returns the ``state_dict`` in a checkpoint."""
    return torch.load(path, weights_only=True)["state_dict"]  # type: ignore[no-any-return]


def assert_same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


def measure(
    state_dict: dict[str, torch.Tensor], points: Any
) -> list[tuple[int, float, float, float]]:
    """Computes size, loss, accuracy and macro recall of each batch of 32 without Plainloop."""
    net = load_module("model/model.py").CloudNet(hidden=16)
    net.load_state_dict(state_dict)
    net.eval()
    rows = []
    for data, target in DataLoader(points, batch_size=32):
        with torch.no_grad():
            output = net(data)
        loss = -output[torch.arange(len(target)), target].mean().item()
        is_correct = (output.argmax(1) == target).double()
        recall = np.mean([is_correct[target == label].mean().item() for label in target.unique()])
        rows.append((len(target), loss, is_correct.mean().item(), float(recall)))
    return rows


@pytest.fixture(scope="module")
def trained(project: Project) -> Done:
    """Three epochs, trained by the command that a user types."""
    return project.run_as_user("train.py", "-c", "config.json", "--run-id", "first")


@pytest.fixture(scope="module")
def straight(project: Project) -> Path:
    """Five epochs without interruption."""
    project.run("train.py", "-c", "config.json", "--run-id", "straight", "trainer.epochs=5").check()
    return project.folder / "saved/Clouds/straight"


def test_the_project_trains(project: Project, trained: Done) -> None:
    trained.check()
    names = {path.name for path in (project.folder / RUN).iterdir()}
    assert names >= {
        "checkpoint-epoch1.pt",
        "checkpoint-epoch2.pt",
        "checkpoint-epoch3.pt",
        "model_best.pt",
    }
    log = read_run(project.folder / RUN)
    assert [line["epoch"] for line in log] == [1, 2, 3]
    assert log[-1]["val_accuracy"] > 0.85
    assert log[-1]["val_loss"] < log[0]["val_loss"]
    assert [line["lr"] for line in log] == [0.01, 0.005, 0.005]
    assert {"loss", "accuracy", "macro_recall", "grad_norm", "val_macro_recall"} <= log[0].keys()


def test_loggers_of_the_project_reach_console_and_file(project: Project, trained: Done) -> None:
    info = (project.folder / RUN / "log" / "info.log").read_text()
    assert "points: 241 to train, 60 to validate" in trained.out
    assert "points: 241 to train, 60 to validate" in info
    assert "epoch 1 [0/241] loss" in trained.out, "self.logger.debug is shown at verbosity 2"
    assert "Trainable parameters: 99" in trained.out


def test_a_warning_names_only_the_key_that_nothing_has_read(trained: Done) -> None:
    warnings = [line for line in trained.out.splitlines() if "Nothing has read" in line]
    assert len(warnings) == 1
    assert "'remarks'" in warnings[0]


def test_changes_that_the_project_makes_in_sections_are_saved(
    project: Project, trained: Done
) -> None:
    saved = json.loads((project.folder / RUN / "config.json").read_text())
    assert saved["trainer"]["steps_per_epoch"] == 7
    assert read_weights(project.folder / RUN / "checkpoint-epoch3.pt").keys() == {
        "hidden.weight",
        "hidden.bias",
        "out.weight",
        "out.bias",
    }


def read_events(run: Path) -> Any:
    """Returns what TensorBoard shows of a run."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run / "log"))
    events.Reload()
    return events


def test_tensorboard_shows_the_templates_tags(project: Project, trained: Done) -> None:
    events = read_events(project.folder / RUN)
    tags = events.Tags()
    assert {"loss/train", "accuracy/train", "loss/valid", "macro_recall/valid"} <= set(
        tags["scalars"]
    )
    assert tags["images"] == ["points/train"]
    assert set(tags["histograms"]) == {"hidden.weight", "hidden.bias", "out.weight", "out.bias"}
    assert [event.step for event in events.Scalars("loss/train")] == list(range(21))
    assert [event.step for event in events.Scalars("loss/valid")] == list(range(6))


def test_the_validation_numbers_are_right(project: Project, trained: Done) -> None:
    """The split is the first fifth of NumPy's shuffle with seed 0. The project averages batches."""
    state = np.random.get_state()
    np.random.seed(0)
    order = np.arange(301)
    np.random.shuffle(order)
    np.random.set_state(state)
    points = Subset(
        load_module("data_loader/data_loaders.py").CloudDataset(301, seed=1), order[:60].tolist()
    )
    for epoch, line in enumerate(read_run(project.folder / RUN), start=1):
        rows = measure(read_weights(project.folder / RUN / f"checkpoint-epoch{epoch}.pt"), points)
        assert [row[0] for row in rows] == [32, 28]
        expected = np.mean([row[1:] for row in rows], axis=0)
        assert [
            line[f"val_{name}"] for name in ("loss", "accuracy", "macro_recall")
        ] == pytest.approx(expected, rel=1e-5)


def test_test_py_averages_over_samples(project: Project, trained: Done) -> None:
    folders = set((project.folder / "saved/Clouds").iterdir())
    done = project.run_as_user(
        "test.py", "-r", RUN / "checkpoint-epoch2.pt", "-o", "result.json"
    ).check()
    assert set((project.folder / "saved/Clouds").iterdir()) == folders
    result = json.loads((project.folder / "result.json").read_text())
    rows = measure(
        read_weights(project.folder / RUN / "checkpoint-epoch2.pt"),
        load_module("data_loader/data_loaders.py").CloudDataset(150, seed=2),
    )
    sizes = np.array([row[0] for row in rows])
    assert sizes.tolist() == [32, 32, 32, 32, 22], (
        "drop_last of the training loader does not drop test samples"
    )
    expected = (sizes[:, None] * [row[1:] for row in rows]).sum(axis=0) / 150
    assert result["n_samples"] == 150
    assert list(result["metrics"].values()) == pytest.approx(expected, rel=1e-5)
    assert "accuracy" in done.out


def test_a_resumed_run_ends_with_the_same_bits(
    project: Project, trained: Done, straight: Path
) -> None:
    """The project has its own loop, dropout, noise from torch and NumPy, and StepLR."""
    resumed = project.folder / "saved/Clouds/resumed"
    shutil.copytree(project.folder / RUN, resumed)
    done = project.run_as_user("train.py", "-r", resumed, "trainer.epochs=5").check()
    assert "tensors in the checkpoint: 4" in done.out, "the project's own torch.load(config.resume)"
    assert [line["epoch"] for line in read_run(resumed)] == [1, 2, 3, 4, 5]
    assert_same(
        read_weights(resumed / "checkpoint-epoch5.pt"),
        read_weights(straight / "checkpoint-epoch5.pt"),
    )
    steps = [event.step for event in read_events(resumed).Scalars("loss/train")]
    assert steps == list(range(5 * 7)), "the curves of the first three epochs are still there"
    expected = [
        {key: value for key, value in line.items() if key != "seconds"}
        for line in read_run(straight)
    ]
    assert [
        {key: value for key, value in line.items() if key != "seconds"}
        for line in read_run(resumed)
    ] == expected


def test_training_by_iterations_resumes_to_the_same_bits(project: Project) -> None:
    """With ``len_epoch``, epochs start within the data. The position is saved despite inf_loop."""
    project.write_config(
        "iterations.json", name="iterations", trainer=project.make_section(len_epoch=5)
    )
    for run, epochs in (("straight", 4), ("resumed", 2)):
        project.run(
            "train.py", "-c", "iterations.json", "--run-id", run, f"trainer.epochs={epochs}"
        ).check()
    runs = project.folder / "saved/iterations"
    done = project.run("train.py", "-r", runs / "resumed", "trainer.epochs=4").check()
    assert "epoch 3 [0/5] loss" in done.out, (
        "inf_loop has no n_samples: _progress counts iterations"
    )
    assert_same(
        read_weights(runs / "resumed/checkpoint-epoch4.pt"),
        read_weights(runs / "straight/checkpoint-epoch4.pt"),
    )


def test_command_line_options_of_the_template(project: Project) -> None:
    options = ["--lr", "0.02", "--bs", "16", "-d", "cpu"]
    project.run(
        "train.py", "-c", "config.json", "--run-id", "options", "trainer.epochs=1", *options
    ).check()
    saved = json.loads((project.folder / "saved/Clouds/options/config.json").read_text())
    assert saved["optimizer"]["args"]["lr"] == 0.02
    assert saved["data_loader"]["args"]["batch_size"] == 16
    assert saved["n_gpu"] == 0


# -- variants of projects --------------------------------------------------------------------------


def run_variant(project: Project, name: str, *more: str, **sections: Any) -> Path:
    """Trains with a changed config. Returns the folder of the run."""
    project.write_config(f"{name}.json", **{"name": name} | sections)
    project.run("train.py", "-c", f"{name}.json", "--run-id", "run", *more).check()
    return project.folder / "saved" / name / "run"


@pytest.mark.parametrize("kind", ["NoDeviceTrainer", "OtherNamesTrainer"])
def test_trainers_without_a_device_parameter_work(
    project: Project, straight: Path, kind: str
) -> None:
    run = run_variant(
        project, kind, trainer=project.make_section(type=f"variants.{kind}", epochs=2)
    )
    assert_same(
        read_weights(run / "checkpoint-epoch2.pt"), read_weights(straight / "checkpoint-epoch2.pt")
    )


def test_an_overridden_train_resumes(project: Project, straight: Path) -> None:
    """It decides when to save. Its learning rate continues after a resume."""
    section = project.make_section(type="variants.OwnTrainTrainer", epochs=3, save_period=2)
    run = run_variant(project, "own_train", trainer=section)
    names = {path.name for path in run.glob("*.pt")}
    assert names == {f"checkpoint-epoch{epoch}.pt" for epoch in (1, 2, 3)} | {"model_best.pt"}
    done = project.run("train.py", "-r", run / "checkpoint-epoch3.pt", "trainer.epochs=4").check()
    assert "own epoch 4 lr 0.00250" in done.out, "StepLR continues: it halves after epochs 2 and 4"


@pytest.mark.parametrize("max_batches", [None, 3], ids=["full epochs", "interrupted epochs"])
@pytest.mark.parametrize("kind", ["trainer.Trainer", "variants.OwnTrainTrainer"])
def test_loops_of_a_project_resume_to_the_same_bits(
    project: Project, kind: str, max_batches: int | None
) -> None:
    """Each epoch starts at the beginning of the data, even if the last one was interrupted."""
    section = project.make_section(type=kind, max_batches=max_batches)
    name = f"bits_{kind}_{max_batches}"
    straight = run_variant(project, f"{name}_straight", trainer=section | {"epochs": 4})
    resumed = run_variant(project, f"{name}_resumed", trainer=section | {"epochs": 2})
    project.run("train.py", "-r", resumed, "trainer.epochs=4").check()
    assert_same(
        read_weights(resumed / "checkpoint-epoch4.pt"),
        read_weights(straight / "checkpoint-epoch4.pt"),
    )


def test_each_call_of_save_checkpoint_saves(project: Project) -> None:
    """Epoch 1 is the best. Calls in later epochs do not change model_best.pt."""
    section = project.make_section(
        type="variants.SaveNowTrainer", monitor="max lr", save_period=3, epochs=4
    )
    run = run_variant(project, "save_now", trainer=section)
    assert {path.name for path in run.glob("*.pt")} == {
        *(f"checkpoint-epoch{epoch}.pt" for epoch in (1, 2, 3, 4)),
        "model_best.pt",
    }
    assert torch.load(run / "model_best.pt", weights_only=True)["epoch"] == 1


def test_checkpoints_of_an_overridden_save_checkpoint_can_be_used(project: Project) -> None:
    """They hold the config object."""
    run = run_variant(
        project, "own_save", trainer=project.make_section(type="variants.OwnSaveTrainer", epochs=2)
    )
    assert {path.name for path in run.glob("*.pt*")} == {
        "checkpoint-epoch1.pth",
        "checkpoint-epoch2.pth",
        "model_best.pth",
    }
    project.run("test.py", "-r", run, "-o", "own_save.json").check()
    assert json.loads((project.folder / "own_save.json").read_text())["metrics"]["accuracy"] > 0.8
    done = project.run("train.py", "-r", run, "trainer.epochs=3").check()
    assert "after epoch 2" in done.out
    assert (run / "checkpoint-epoch3.pth").is_file()


def test_an_overridden_save_checkpoint_saves_the_best_too(project: Project) -> None:
    """Even the best of an epoch that is not due is saved by the override."""
    section = project.make_section(
        type="variants.OwnSaveTrainer", monitor="max lr", save_period=2, epochs=3
    )
    run = run_variant(project, "own_best", trainer=section)
    assert not list(run.glob("*.pt"))
    assert torch.load(run / "model_best.pth", weights_only=False)["epoch"] == 1


def test_attributes_and_methods_may_have_the_frameworks_names(
    project: Project, straight: Path
) -> None:
    """The project uses ``step``, ``options``, ``update`` and ``evaluate``."""
    section = project.make_section(type="variants.OwnAttributesTrainer", epochs=2)
    run = run_variant(project, "own_attributes", trainer=section)
    assert_same(
        read_weights(run / "checkpoint-epoch2.pt"), read_weights(straight / "checkpoint-epoch2.pt")
    )
    project.run("test.py", "-r", run).check()
    project.run("train.py", "-r", run, "trainer.epochs=3").check()


def test_an_epoch_may_return_more_than_numbers(project: Project, straight: Path) -> None:
    run = run_variant(
        project, "words", trainer=project.make_section(type="variants.WordsTrainer", epochs=1)
    )
    (line,) = read_run(run)
    assert line["val_accuracy"] == read_run(straight)[0]["val_accuracy"]
    assert (run / "checkpoint-epoch1.pt").is_file()


@pytest.mark.parametrize("schedule", [{}, None], ids=["empty", "absent"])
def test_training_works_without_a_schedule(
    project: Project, schedule: dict[str, Any] | None
) -> None:
    run = run_variant(
        project, f"schedule_{schedule is None}", "trainer.epochs=3", lr_scheduler=schedule
    )
    assert [line["lr"] for line in read_run(run)] == [0.01, 0.01, 0.01]


def test_a_loss_may_have_arguments(project: Project) -> None:
    losses = [
        {"type": "smooth_nll_loss", "args": {"smoothing": smoothing}} for smoothing in (0.0, 0.5)
    ]
    runs = [
        run_variant(project, f"loss_{index}", "trainer.epochs=1", loss=loss)
        for index, loss in enumerate(losses)
    ]
    unsmoothed, smoothed = [read_weights(run / "checkpoint-epoch1.pt") for run in runs]
    plain = run_variant(project, "loss_plain", "trainer.epochs=1")
    assert_same(unsmoothed, read_weights(plain / "checkpoint-epoch1.pt"))
    assert not torch.equal(smoothed["out.weight"], unsmoothed["out.weight"])


def test_a_trainer_section_needs_only_epochs(project: Project) -> None:
    """There is no save_dir, save_period, verbosity, monitor, early_stop or tensorboard."""
    run = run_variant(project, "bare", trainer={"epochs": 2})
    assert {path.name for path in run.glob("*.pt")} == {
        "checkpoint-epoch1.pt",
        "checkpoint-epoch2.pt",
    }


@pytest.mark.parametrize("early_stop", [0, -1])
def test_early_stop_of_zero_or_less_never_stops(project: Project, early_stop: int) -> None:
    section = project.make_section(monitor="max lr", early_stop=early_stop, epochs=4)
    run = run_variant(project, f"never{early_stop}".replace("-", "_"), trainer=section)
    assert len(read_run(run)) == 4


@pytest.mark.parametrize("monitor", ["off", None], ids=["off", "absent"])
def test_early_stop_without_a_monitor_has_no_effect(project: Project, monitor: str | None) -> None:
    """The template's README tells its users to turn the monitor off in this way."""
    run = run_variant(
        project,
        f"off_{monitor}",
        trainer=project.make_section(monitor=monitor, early_stop=1, epochs=4),
    )
    assert len(read_run(run)) == 4


def test_early_stop_ends_the_training(project: Project) -> None:
    """Epoch 1 is the best. Two epochs without improvement are tolerated, the third is the last."""
    run = run_variant(
        project, "early", trainer=project.make_section(monitor="max lr", early_stop=2, epochs=9)
    )
    assert len(read_run(run)) == 4


def test_the_best_epoch_is_saved_even_if_it_is_not_due(project: Project) -> None:
    run = run_variant(
        project, "best", trainer=project.make_section(monitor="max lr", save_period=2, epochs=3)
    )
    assert torch.load(run / "model_best.pt", weights_only=True)["epoch"] == 1
    assert not (run / "checkpoint-epoch1.pt").exists()


@pytest.mark.parametrize(
    "key", ["warmup_epochs", "val_period", "tensorboardX", "grad_clip", "save_freq", "log_dir"]
)
def test_keys_of_a_project_in_the_trainer_section_are_accepted(project: Project, key: str) -> None:
    """Public projects use these names. ``tensorboardX`` is from an old template."""
    run = run_variant(project, f"key_{key}", trainer=project.make_section(epochs=1, **{key: 1}))
    assert json.loads((run / "config.json").read_text())["trainer"][key] == 1


def test_comments_are_accepted_anywhere(project: Project) -> None:
    comment = {"__comment": "why", "__comment_2": "and why not"}
    net = {"type": "CloudNet", "args": {"hidden": 16, "dropout": 0.2, **comment}, **comment}
    run = run_variant(project, "comments", "trainer.epochs=1", arch=net, **comment)
    assert read_weights(run / "checkpoint-epoch1.pt")["hidden.weight"].shape == (16, 2)


def test_arguments_may_have_any_name(fresh_project: Project) -> None:
    """The code that reads configs uses these names itself."""
    names = ["keys", "tree", "found", "name", "slot", "node", "module"]
    with (fresh_project.folder / "model/model.py").open("a") as file:
        file.write(f"\n\nclass NamedNet(CloudNet):\n    def __init__(self, {', '.join(names)}):\n")
        file.write(f"        super().__init__(hidden={' + '.join(names)})\n")
    arch = {"type": "NamedNet", "args": dict.fromkeys(names, 2)}
    run = run_variant(fresh_project, "names", "trainer.epochs=1", arch=arch)
    assert read_weights(run / "checkpoint-epoch1.pt")["hidden.weight"].shape == (14, 2)


def test_a_child_class_may_set_arguments_of_its_parent(fresh_project: Project) -> None:
    """A config need not give an argument that the child passes to its parent."""
    with (fresh_project.folder / "model/model.py").open("a") as file:
        file.write("\n\nclass Wide(CloudNet):\n    def __init__(self, size, num_classes):\n")
        file.write("        super().__init__(size, num_classes)\n")
        file.write("\n\nclass WideOfThree(Wide):\n    def __init__(self, **kwargs):\n")
        file.write("        super().__init__(num_classes=3, **kwargs)\n")
    run = run_variant(
        fresh_project,
        "child",
        "trainer.epochs=1",
        arch={"type": "WideOfThree", "args": {"size": 20}},
    )
    assert read_weights(run / "checkpoint-epoch1.pt")["hidden.weight"].shape == (20, 2)


def test_the_trainer_is_the_one_that_its_package_exports(
    fresh_project: Project, straight: Path
) -> None:
    """The template's train.py runs ``from trainer import Trainer``, whatever file defines it."""
    folder = fresh_project.folder / "trainer"
    for path in folder.glob("*.py"):
        if path.name not in ("__init__.py", "trainer.py"):
            path.unlink()
    (folder / "trainer.py").rename(folder / "clouds.py")
    # Plainloop's own file, which no file of the project replaces here.
    shutil.copy(Path(__file__).parents[2] / "trainer" / "trainer.py", folder)
    (folder / "__init__.py").write_text("from .clouds import Trainer\n")
    run = run_variant(fresh_project, "exported", "trainer.epochs=2")
    assert_same(
        read_weights(run / "checkpoint-epoch2.pt"), read_weights(straight / "checkpoint-epoch2.pt")
    )


def test_a_project_with_another_training_script_works(
    fresh_project: Project, straight: Path
) -> None:
    """The script makes each object by ``init_obj`` or ``getattr``."""
    (fresh_project.folder / "main.py").write_text(TRAINING_SCRIPT)
    done = fresh_project.run(
        "main.py", "-c", "config.json", "--lr", "0.01", "--smoothing", "0.0"
    ).check()
    (run,) = (fresh_project.folder / "saved/Clouds").iterdir()
    assert_same(
        read_weights(run / "checkpoint-epoch3.pt"), read_weights(straight / "checkpoint-epoch3.pt")
    )
    assert json.loads((run / "config.json").read_text())["loss_args"]["smoothing"] == 0.0
    assert "the script begins\n" in done.out, (
        "get_logger works before there is a trainer, as in the template"
    )
    assert done.out.count("the script begins") == 1
    assert f"saved in {run.relative_to(fresh_project.folder)}" in done.out
    assert (run / "log" / "info.log").is_file()
    fresh_project.run("main.py", "-r", run / "checkpoint-epoch3.pt").check()
    fresh_project.run("test.py", "-r", run).check()


TRAINING_SCRIPT = """
import argparse
import collections
import numpy as np
import torch
import data_loader.data_loaders as module_data
import model.loss as module_loss
import model.metric as module_metric
import model.model as module_arch
from config import ConfigParser
from trainer import Trainer
from utils import prepare_device

torch.manual_seed(123)
np.random.seed(123)


def main(config):
    config.get_logger('main').info('the script begins')
    loader = config.init_obj('data_loader', module_data)
    valid_loader = loader.split_validation()
    model = config.init_obj('arch', module_arch)
    device, device_ids = prepare_device(config['n_gpu'])
    model = model.to(device)
    criterion = getattr(module_loss, config['loss'])
    metrics = [getattr(module_metric, met) for met in config['metrics']]
    params = filter(lambda p: p.requires_grad, model.parameters())
    optimizer = config.init_obj('optimizer', torch.optim, params, fused=True)
    schedule = config.init_obj('lr_scheduler', torch.optim.lr_scheduler, optimizer)
    trainer = Trainer(model, criterion, metrics, optimizer, config=config, device=device,
                      data_loader=loader, valid_data_loader=valid_loader, lr_scheduler=schedule)
    trainer.train()
    config.get_logger('main').info('saved in {}'.format(config.save_dir))


if __name__ == '__main__':
    parser = argparse.ArgumentParser()
    parser.add_argument('-c', '--config', default=None, type=str)
    parser.add_argument('-r', '--resume', default=None, type=str)
    parser.add_argument('-d', '--device', default=None, type=str)
    Option = collections.namedtuple('Option', 'flags type target')
    options = [Option(['--lr', '--learning_rate'], type=float, target='optimizer;args;lr'),
               Option(['--smoothing'], type=float, target='loss_args;smoothing')]
    main(ConfigParser.from_args(parser, options))
"""


def test_the_templates_config_trains_with_plainloops_mnist_loader(fresh_project: Project) -> None:
    """The config is the template's ``config.json``. MNIST has only 200 images here."""
    for path in ("data_loader", "model", "trainer"):
        shutil.rmtree(fresh_project.folder / path)
        shutil.copytree(Path(__file__).parents[2] / path, fresh_project.folder / path)
    write_mnist(fresh_project.folder / "data/MNIST/raw")
    values = {
        "name": "Mnist_LeNet",
        "n_gpu": 1,
        "arch": {"type": "MnistModel", "args": {}},
        "data_loader": {
            "type": "MnistDataLoader",
            "args": {
                "data_dir": "data/",
                "batch_size": 128,
                "shuffle": True,
                "validation_split": 0.1,
                "num_workers": 2,
            },
        },
        "optimizer": {"type": "Adam", "args": {"lr": 0.001, "weight_decay": 0, "amsgrad": True}},
        "loss": "nll_loss",
        "metrics": ["accuracy", "top_k_acc"],
        "lr_scheduler": {"type": "StepLR", "args": {"step_size": 50, "gamma": 0.1}},
        "trainer": {
            "epochs": 100,
            "save_dir": "saved/",
            "save_period": 1,
            "verbosity": 2,
            "monitor": "min val_loss",
            "early_stop": 10,
            "tensorboard": True,
        },
    }
    (fresh_project.folder / "config.json").write_text(json.dumps(values))
    fresh_project.run(
        "train.py", "-c", "config.json", "trainer.epochs=1", "--run-id", "run"
    ).check()
    run = fresh_project.folder / "saved/Mnist_LeNet/run"
    (line,) = read_run(run)
    assert {
        "loss",
        "accuracy",
        "top_k_acc",
        "val_loss",
        "val_accuracy",
        "val_top_k_acc",
    } < line.keys()
    assert line["step"] == 2, "180 of the 200 images, in batches of 128"
    assert sum(value.numel() for value in read_weights(run / "model_best.pt").values()) == 21840


def write_mnist(folder: Path) -> None:
    """Writes 200 training and 20 test images in MNIST's file format."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for stem, count in (("train", 200), ("t10k", 20)):
        images = rng.integers(0, 256, size=(count, 28, 28), dtype=np.uint8)
        head = np.array([2051, count, 28, 28], dtype=">i4").tobytes()
        (folder / f"{stem}-images-idx3-ubyte").write_bytes(head + images.tobytes())
        head = np.array([2049, count], dtype=">i4").tobytes()
        (folder / f"{stem}-labels-idx1-ubyte").write_bytes(
            head + bytes(i % 10 for i in range(count))
        )
