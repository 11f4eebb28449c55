"""Projects with other files than pytorch-template's work."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np

from tests.contract.contract_project import Project, assert_same, read_run, read_weights


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
    run = fresh_project.train("exported", "trainer.epochs=2")
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
