"""Tests a trained model: ``python test.py -r saved/NAME/RUN_ID``; results go into its folder."""

from __future__ import annotations  # PYTHON_ARGCOMPLETE_OK

import argparse
from importlib import import_module
from typing import Any

from config import ConfigParser, parse_args
from utils.checkpoints import find_checkpoint
from utils.distributed import init_distributed, is_main
from utils.errors import UserError
from utils.files import to_path
from utils.main import run_main

# Options that run a tool instead of the test: its module and its help.
TOOLS = {"predict": ("base.tools.predict", "predict a picture, or those in a folder")}


def main(config: ConfigParser, args: argparse.Namespace) -> None:
    from base.loop.reporter import TestResult, evaluate_sets, make_reporters
    from base.schema import SCHEMA
    from logger import setup_logging
    from utils.seed import seed_everything

    config.check(SCHEMA)
    setup_logging()
    logger, reporters = config.get_logger("test"), make_reporters(args.output)
    seed_everything(config.seed)
    subject = load_subject(config, args.weights)
    for option, (module, _) in TOOLS.items():
        if (argument := getattr(args, option)) is not None:
            import_module(module).run(subject, argument, args.output)
            return
    logger.info("Testing the %s of %s on %s.", subject.weights, subject.checkpoint, subject.split)
    result = TestResult(subject, [*evaluate_sets(subject, config, logger)])
    config.log_unread_keys(logger)
    for reporter in reporters if is_main() else ():
        reporter.report(result, config, logger)


def load_subject(config: ConfigParser, weights_kind: str | None) -> Any:
    """Makes the model with the checkpoint's weights, and the loader of the data to test it on."""
    from base.checkpoint.best_files import describe_position
    from base.checkpoint.file import load
    from base.checkpoint.weights import choose_weights, load_loss, load_weights
    from base.data.loader import prepare_loader
    from base.loaders import make_test_loader
    from base.loop.assembly import make_criterion
    from base.loop.phases import make_phases
    from base.loop.reporter import TestSubject
    from base.parallel.strategy import move_to_device, output_device
    from utils.util import prepare_device

    if config.resume is None:
        raise UserError("there is no checkpoint to test; give one with -r")
    checkpoint = load(config.resume)
    loader, split, section = make_test_loader(config)
    model = config.build("arch")
    make_phases(config, config.get_logger("test")).replace_head(model)
    weights, kind = choose_weights(checkpoint, weights_kind, config)
    load_weights(model, weights, config.resume)
    model, device = move_to_device(model, prepare_device(config.get("n_gpu", 1))[0])
    criterion = make_criterion(config, output_device(model, device))
    load_loss(criterion, checkpoint, config, config.resume)
    loader = prepare_loader(loader, section, device, True, checkpoint.get("environment"))
    about = (config.resume, checkpoint.get("epoch"), kind, split, config.get("task"))
    position = describe_position(checkpoint)
    return TestSubject(model, criterion, loader, device, *about, position)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Tests a trained model.")
    parser.add_argument("-r", "--resume", required=True, help="checkpoint or run folder (its best)")
    parser.add_argument("-c", "--config", action="append", help="config file; replaces the run's")
    parser.add_argument("-d", "--device", help="cpu, or the index of an accelerator")
    parser.add_argument("-o", "--output", type=to_path, help="write the result to this file too")
    for kind, flag in {"ema": "--ema", "swa": "--swa", "trained": "--no-ema"}.items():
        text = f"use the {kind} weights"
        parser.add_argument(flag, dest="weights", action="store_const", const=kind, help=text)
    for option, (_, text) in TOOLS.items():
        parser.add_argument(f"--{option}", type=to_path, metavar="PATH", help=text)
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="as for train.py")

    def start() -> None:
        args = parse_args(parser)
        args.resume = find_checkpoint(args.resume, best_first=True)
        config = ConfigParser.from_args(args)
        with init_distributed(config.process_settings()):
            main(config, args)

    run_main(start)
