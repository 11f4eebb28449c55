"""Trains the model that a config describes: ``python train.py -c config.json``."""

from __future__ import annotations  # PYTHON_ARGCOMPLETE_OK

import argparse
import logging
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

from config import ConfigParser, CustomArgs
from utils.distributed import init_distributed, main_process_first, rank
from utils.launch import launch, num_processes_to_launch
from utils.main import run_main
from utils.notebook import run  # noqa: F401  (in a notebook: from train import run)

Limit = Callable[[list[Any]], list[Any]]  # replaces the training and validation loaders

TOOLS = {  # options that run a tool instead of the training: its module and its help
    "--check": ("base.tools.check", "try everything on one batch and leave nothing behind"),
    "--lr-find": ("base.tools.lr_find", "try rising learning rates and suggest one"),
    "--find-batch-size": ("base.tools.batch_size", "find the largest batch that fits the device"),
}
GROUPS = {"search": "base.groups.search", "repeat": "base.groups.repeat"}  # sections: many runs


def main(config: ConfigParser, tool: str | None) -> tuple[Any, int]:
    from base.run import RunFolder  # imports torch, which is too slow for --help
    from base.schema import SCHEMA

    config.check(SCHEMA)
    if tool:
        return import_module(tool).run(config, make_trainer), 0
    with RunFolder(config) as folder, config.locating_errors():
        logger = config.get_logger("train")
        trainer = make_trainer(config, logger)
        folder.describe(trainer)
        config.log_unread_keys(logger)
        trainer.train()
        return trainer, folder.conclude(trainer)


def make_trainer(config: ConfigParser, logger: logging.Logger, limit: Limit | None = None) -> Any:
    """Makes the trainer and what it needs; ``limit`` shortens the loaders for a trial."""
    from base.loop.assembly import infer_shapes, limit_loaders, make_criterion, make_optimizer
    from base.loop.phases import make_phases
    from base.loop.speedups import speed_up_steps
    from base.parallel.strategy import make_strategy
    from utils.seed import seed_everything, seeding_rank
    from utils.util import prepare_device

    seed_everything(config.seed, config["trainer"].get("deterministic", True))
    parallel, phases = make_strategy(config, check=True), make_phases(config, logger)
    with main_process_first():  # the other processes reuse its downloads
        loaders, model = config.build_loaders(), config.build("arch")
    infer_shapes(config, model, *loaders)  # of lazy modules
    phases.prepare_model(model, loaders[0], resuming=config.resume is not None)
    logger.info(model)
    model, device = parallel.move_to_device(model, prepare_device(config.get("n_gpu", 1))[0])
    loaders = phases.adapt_loaders(model, loaders, device, dry_run=limit is not None)
    loaders = limit_loaders(config, loaders, limit)
    fused = speed_up_steps(config, model, parallel, logger)
    wrapped = parallel.wrap(model, device)
    criterion = make_criterion(config, wrapped, parallel)
    optimizer, lr_scheduler = make_optimizer(config, phases, model, criterion, fused, loaders[0])
    with seeding_rank(config.seed, rank()):  # then dropout, for example, differs between ranks
        return config.build_trainer(
            model=wrapped,
            criterion=criterion,
            metric_ftns=config.build_metrics(),
            optimizer=optimizer,
            device=device,
            data_loader=loaders[0],
            valid_data_loader=loaders[1],
            lr_scheduler=lr_scheduler,
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Trains the model that a config describes.")
    parser.add_argument("-c", "--config", action="append", help="config file; a later -c wins")
    parser.add_argument("-r", "--resume", help="checkpoint or run folder to resume")
    parser.add_argument("-d", "--device", help="cpu, or indices of accelerators: 0 or 0,1")
    for flag, (module, help_text) in TOOLS.items():
        parser.add_argument(flag, action="store_const", const=module, dest="tool", help=help_text)
    lr = CustomArgs(["--lr", "--learning_rate"], type=float, target="optimizer;args;lr")
    bs = CustomArgs(["--bs", "--batch_size"], type=int, target="data_loader;args;batch_size")

    def start() -> None:
        config = ConfigParser.from_args(parser, [lr, bs])
        groups = [module for section, module in GROUPS.items() if config.get(section)]
        tool, settings = config.args.tool or next(iter(groups), None), config.process_settings()
        if not tool and (count := num_processes_to_launch(settings)) > 1:
            sys.exit(launch(count))
        with init_distributed(settings):
            _, status = main(config, tool)
            sys.exit(status)

    run_main(start)
