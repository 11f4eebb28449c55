"""Tests a trained model: ``python test.py -r saved/NAME/RUN_ID``; the results go into the run's folder."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from config import ConfigParser
from utils.checkpoints import find_checkpoint
from utils.distributed import all_gather, init_distributed, is_main
from utils.errors import UserError
from utils.main import run_main


def main(config: ConfigParser, args: argparse.Namespace) -> None:
    config.check()
    from base.checkpoint.file import load, load_weights, weights_of
    from base.loop.evaluate import evaluate
    from base.parallel.placement import output_device, placed
    from base.parallel.strategy import divided
    from base.tools.predict import predict
    from base.tools.report import Tested, check_output
    from base.tools.results import Recorder
    from base.transfer.transfer import Transfer
    from logger import setup_logging
    from logger.progress import progress
    from utils.batch import num_batches, to_device
    from utils.seed import seed_everything
    from utils.util import prepare_device

    setup_logging()
    logger = config.get_logger("test")
    check_output(args.output)
    seed_everything(config.seed)
    assert config.resume is not None
    checkpoint, folder = load(config.resume), config.resume.parent
    data_loader, split = test_loader(config)
    model = config.build("arch")
    Transfer(config.options("transfer"), logger).replace_head(model)
    monitored = "val_ema_" in str(config["trainer"].get("monitor"))
    weights, kind = weights_of(checkpoint, monitored if args.ema is None else args.ema)
    load_weights(model, weights, config.resume)
    model, device = placed(model, prepare_device(config.get("n_gpu", 1))[0])
    criterion = to_device(config.build("loss"), end := output_device(model, device))
    if args.predict is not None:
        if is_main():
            path = predict(model, args.predict, data_loader, criterion, device, folder, args.output)
            logger.info("Predicted by the %s of %s; written to %s", kind, config.resume, path)
        return
    logger.info("Testing the %s of %s on %s.", kind, config.resume, split)
    recorder = Recorder(config.build_metrics(), device=end)
    if unread := config.unread_keys():
        logger.warning(
            "Nothing has read these keys of the config: %s", ", ".join(map(repr, unread))
        )
    data_loader = divided(data_loader, "data_loader", device, evaluating=True)
    batches = progress(data_loader, num_batches(data_loader), "test", logger)
    own_evaluate = getattr(config.trainer_class(), "evaluate_split", evaluate)
    values = own_evaluate(model, batches, criterion, recorder, device)
    about = {
        "checkpoint": str(config.resume),
        "weights": kind,
        "split": split,
        "epoch": checkpoint.get("epoch"),
    }
    about["n_samples"] = sum(all_gather(recorder.n_samples))
    if is_main():
        results = Tested(about, values, recorder, criterion, data_loader)
        results.report(logger, folder, config.plain(), args.output)


def test_loader(config: ConfigParser) -> tuple[Any, str]:
    """The loader to test with, and in words where it comes from."""
    if config.get("test_data_loader"):
        return config.build("test_data_loader"), "the test_data_loader"
    if config.takes("data_loader", "training"):
        changes = {"training": False, "shuffle": False, "validation_split": 0.0, "drop_last": False}
        args = config["data_loader"].setdefault("args", {})
        args.pop("sampler", None)
        args.update(
            {key: value for key, value in changes.items() if config.takes("data_loader", key)}
        )
        return config.build("data_loader"), "the test part of the data_loader (training=False)"
    if config.get("valid_data_loader"):
        return config.build("valid_data_loader"), "the valid_data_loader (there is no test data)"
    loader = config.build("data_loader").split_validation()
    if loader is None:
        raise UserError(
            "there is nothing to test on: give a test_data_loader, or a validation_split"
        )
    return loader, "the validation split (there is no test data)"


if __name__ == "__main__":
    args = argparse.ArgumentParser(description="Tests a trained model.")
    args.add_argument(
        "-r", "--resume", required=True, help="checkpoint, or run folder (its best one is tested)"
    )
    args.add_argument("-c", "--config", default=None, help="config file, in place of the run's own")
    args.add_argument("-d", "--device", default=None, help="cpu, or the index of an accelerator")
    args.add_argument(
        "-o",
        "--output",
        type=Path,
        default=None,
        help="write the result to this JSON (CSV) file too",
    )
    args.add_argument(
        "--predict",
        type=Path,
        metavar="PATH",
        help="predict the pictures there, which have no labels",
    )
    args.add_argument(
        "--ema",
        action=argparse.BooleanOptionalAction,
        help="the EMA weights (default: if monitored)",
    )
    args.add_argument(
        "overrides",
        nargs="*",
        metavar="KEY=VALUE",
        help="e.g. test_data_loader.args.batch_size=512",
    )

    def run() -> None:
        options = args.parse_intermixed_args()
        options.resume = find_checkpoint(options.resume, best_first=True)
        config = ConfigParser.from_args(options)
        with init_distributed(config.process_settings()):
            main(config, options)

    run_main(run)
