"""Tests a trained model: ``python test.py -r saved/NAME/RUN_ID``; results go into its folder."""

from __future__ import annotations  # PYTHON_ARGCOMPLETE_OK

import argparse
from importlib import import_module
from typing import Any

from config import ConfigParser, parse_args
from utils.checkpoints import find_checkpoint, holds_runs
from utils.distributed import init_distributed, is_main
from utils.files import to_path
from utils.main import run_main

# Options that run a tool instead of the test: its module and its help.
PREDICT_HELP = "predict a picture, a folder of them, or what the dataset reads"
TOOLS = {"predict": ("base.tools.predict.predict", PREDICT_HELP)}


def main(config: ConfigParser, args: argparse.Namespace) -> Any:
    """Tests one checkpoint. Returns its TestResult; None after a tool."""
    from base.evaluation import load_subject
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
            import_module(module).run(subject, config, argument, args.output)
            return None
    logger.info("Testing the %s of %s on %s.", subject.weights, subject.checkpoint, subject.split)
    result = TestResult(subject, [*evaluate_sets(subject, config, logger)])
    config.log_unread_keys(logger)
    for reporter in reporters if is_main() else ():
        reporter.report(result, config, logger)
    return result


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Tests a trained model.")
    text = "checkpoint, run folder (its best), or folder of a group (each of its runs)"
    parser.add_argument("-r", "--resume", required=True, help=text)
    parser.add_argument("-c", "--config", action="append", help="config file; replaces the run's")
    parser.add_argument("-d", "--device", help="cpu, or the index of an accelerator")
    parser.add_argument("-o", "--output", type=to_path, help="write the result to this file too")
    for kind, flag in {"ema": "--ema", "swa": "--swa", "trained": "--no-ema"}.items():
        text = f"use the {kind} weights"
        parser.add_argument(flag, dest="weights", action="store_const", const=kind, help=text)
    for option, (_, text) in TOOLS.items():
        parser.add_argument(f"--{option}", type=to_path, metavar="PATH", help=text)
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="as for train.py")

    def test(args: argparse.Namespace) -> Any:
        args.resume = find_checkpoint(args.resume, best_first=True)
        config = ConfigParser.from_args(args)
        with init_distributed(config.process_settings()), config.locating_errors():
            return config, main(config, args)

    def start() -> None:
        args = parse_args(parser)
        if holds_runs(args.resume):
            import_module("base.groups.testing.testing").run(args, test)
        else:
            test(args)

    run_main(start)
