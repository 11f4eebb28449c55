"""Trains what a config describes: ``python train.py -c config.json``."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable
from typing import Any

from config import ConfigParser, CustomArgs
from utils.distributed import init_distributed, main_process_first, rank
from utils.launch import launch, num_processes_to_launch
from utils.main import run_main


def main(config: ConfigParser) -> None:
    config.check()  # imports torch, to look at signatures: --help and a config that cannot be read do not wait for it
    from base.run import summary
    from base.tools.check import Trial
    from base.tools.commands import run_kind

    with run_kind(config.args)(config) as run:
        logger = config.get_logger("train", verbosity=0 if isinstance(run, Trial) else 2)
        with config.places():
            trainer = make_trainer(config, logger, run.first if isinstance(run, Trial) else None)
        if isinstance(run, Trial):
            print(run.bill(trainer))
            return
        run.describe()
        if unread := config.unread_keys():
            logger.warning(
                "Nothing has read these keys of the config: %s", ", ".join(map(repr, unread))
            )
        trainer.train()
        if (stop := getattr(trainer, "stop", None)) is not None and stop.status:
            run.stopped(stop.reason)
            sys.exit(stop.status)
        logger.info(
            summary(
                config.save_dir,
                getattr(trainer, "mnt_metric", ""),
                getattr(trainer, "mnt_best", None),
            )
        )


def make_trainer(
    config: ConfigParser, logger: logging.Logger, limit: Callable[..., Any] | None = None
) -> Any:
    """Makes all that the config names; ``limit(loader, name)`` may shorten the loaders."""
    from base.loop.speedups import cheaper_steps
    from base.parallel.placement import placed
    from base.parallel.strategy import Parallel
    from base.transfer.param_groups import learning_rate, make_lr_scheduler
    from base.transfer.transfer import Transfer
    from utils.seed import seed_everything, seed_rank
    from utils.util import prepare_device

    seed_everything(config.seed, config["trainer"].get("deterministic", True))
    parallel = Parallel.of(config)
    with main_process_first():
        data_loader = config.build("data_loader")
        if config.get("valid_data_loader"):
            valid_data_loader = config.build("valid_data_loader")
        else:  # torch's own DataLoader serves too, and knows no split
            valid_data_loader = getattr(data_loader, "split_validation", lambda: None)()
        model = config.build("arch")
    transfer = Transfer(config.options("transfer"), logger)
    transfer.prepare(
        model, fresh=config.resume is None, dataset=getattr(data_loader, "dataset", None)
    )
    logger.info(model)
    model, device = placed(model, prepare_device(config.get("n_gpu", 1))[0])
    data_loader, valid_data_loader = transfer.cache(
        model, [data_loader, valid_data_loader], device, limit is None
    )
    if limit is not None:
        data_loader = limit(data_loader, "data_loader")
        valid_data_loader = limit(valid_data_loader, "valid_data_loader")
    cheaper = cheaper_steps(config, model, logger)
    wrapped = parallel.wrap(model, device)

    optimizer = config.build(
        "optimizer", transfer.parameters(model, learning_rate(config)), **cheaper
    )
    seed_rank(config.seed, rank())  # for dropout and the like
    trainer = config.build_trainer(
        model=wrapped,
        criterion=config.build("loss"),
        metric_ftns=config.build_metrics(),
        optimizer=optimizer,
        config=config,
        device=device,
        data_loader=data_loader,
        valid_data_loader=valid_data_loader,
        lr_scheduler=make_lr_scheduler(config, optimizer),
    )
    trainer.transfer, trainer.parallel = transfer, parallel
    return trainer


if __name__ == "__main__":
    args = argparse.ArgumentParser(description="Trains what a config describes.")
    args.add_argument(
        "-c", "--config", default=None, help="config file; a name is looked for in config/ too"
    )
    args.add_argument("-r", "--resume", default=None, help="checkpoint or run folder to go on from")
    args.add_argument(
        "--check",
        action="store_true",
        help="try everything on one batch, tell the bill, leave nothing",
    )
    args.add_argument(
        "--lr-find",
        action="store_true",
        help="try rising learning rates, draw the loss, suggest one",
    )
    args.add_argument(
        "--find-batch-size",
        action="store_true",
        help="try how large a batch the device has memory for",
    )
    args.add_argument(
        "-d", "--device", default=None, help="cpu, or indices of accelerators: 0 or 0,1"
    )
    # More options of this kind set one value of the config each.
    options = [
        CustomArgs(["--lr", "--learning_rate"], type=float, target="optimizer;args;lr"),
        CustomArgs(["--bs", "--batch_size"], type=int, target="data_loader;args;batch_size"),
    ]

    def run() -> None:
        config = ConfigParser.from_args(args, options)
        settings = config.process_settings()
        num_processes = num_processes_to_launch(settings)
        if num_processes > 1 and not (config.args.check or config.args.find_batch_size):
            sys.exit(launch(num_processes))
        with init_distributed(settings):
            main(config)

    run_main(run)
