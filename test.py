"""Tests a trained model: ``python test.py -r saved/NAME/RUN_ID``. Makes no run folder."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from config import ConfigParser
from utils.errors import UserError
from utils.main import run_main
from utils.parallel import gather, is_main, joined
from utils.runs import find_checkpoint


def main(config: ConfigParser, output: Path | None, ema: bool | None) -> None:
    config.check()
    if output is not None and (output.is_dir() or not output.parent.is_dir()):
        raise UserError(f"--output {output}: must be a file in a folder that is there")

    from base.checkpoint import load, load_weights, weights_of
    from base.evaluate import evaluate
    from base.metrics import MetricSet
    from base.parallel import divided
    from base.transfer import Transfer
    from logger import setup_logging
    from logger.progress import progress
    from utils.seed import seed_everything
    from utils.util import prepare_device

    setup_logging()
    logger = config.get_logger("test")
    seed_everything(config.seed)
    assert config.resume is not None
    checkpoint = load(config.resume)

    data_loader, split = test_loader(config)
    model = config.build("arch")
    Transfer(config.options("transfer"), logger).replace_head(model)
    monitored = "val_ema_" in str(config["trainer"].get("monitor"))
    weights, kind = weights_of(checkpoint, monitored if ema is None else ema)
    load_weights(model, weights, config.resume)
    device, _ = prepare_device(config.get("n_gpu", 1))
    criterion = config.build("loss")
    criterion = criterion.to(device) if hasattr(criterion, "to") else criterion

    logger.info("Testing the %s of %s on %s.", kind, config.resume, split)
    metrics = MetricSet(config.build_metrics(), device=device)
    if unread := config.unread_keys():
        logger.warning("Nothing has read these keys of the config: %s", ", ".join(map(repr, unread)))
    batches = progress(divided(data_loader, "data_loader", evaluating=True), None, "test", logger)
    own_evaluate = getattr(config.trainer_class(), "evaluate_split", evaluate)
    result = own_evaluate(model.to(device), batches, criterion, metrics, device)
    for name, value in result.items():
        logger.info("  %-15s %.6g", name, value)
    n_samples = sum(gather(metrics.n_samples))
    if output is not None and is_main():
        about: dict[str, Any] = {"checkpoint": str(config.resume), "weights": kind, "split": split}
        about |= {"epoch": checkpoint.get("epoch"), "n_samples": n_samples}
        try:
            output.write_text(json.dumps(about | {"metrics": result}, indent=4) + "\n", encoding="utf-8")
        except OSError as error:
            raise UserError(f"--output {output}: cannot be written: {error.strerror}") from None
        logger.info("Written to %s", output)


def test_loader(config: ConfigParser) -> tuple[Any, str]:
    """The loader to test with, and in words where it comes from."""
    if config.get("test_data_loader"):
        return config.build("test_data_loader"), "the test_data_loader"
    if config.takes("data_loader", "training"):
        changes = {"training": False, "shuffle": False, "validation_split": 0.0, "drop_last": False, "sampler": None}
        args = config["data_loader"].setdefault("args", {})
        args.update({key: value for key, value in changes.items() if config.takes("data_loader", key)})
        return config.build("data_loader"), "the test part of the data_loader (training=False)"
    if config.get("valid_data_loader"):
        return config.build("valid_data_loader"), "the valid_data_loader (there is no test data)"
    loader = config.build("data_loader").split_validation()
    if loader is None:
        raise UserError("there is nothing to test on: give a test_data_loader, or a validation_split")
    return loader, "the validation split (there is no test data)"


if __name__ == "__main__":
    args = argparse.ArgumentParser(description="Tests a trained model.")
    args.add_argument("-r", "--resume", required=True, help="checkpoint, or run folder (its best one is tested)")
    args.add_argument("-c", "--config", default=None, help="config file, in place of the run's own")
    args.add_argument("-d", "--device", default=None, help="cpu, or the index of an accelerator")
    args.add_argument("-o", "--output", type=Path, default=None, help="write the result to this JSON file")
    args.add_argument("--ema", action=argparse.BooleanOptionalAction, help="the EMA weights (default: if monitored)")
    args.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="e.g. test_data_loader.args.batch_size=512")

    def run() -> None:
        options = args.parse_intermixed_args()
        options.resume = find_checkpoint(options.resume, best_first=True)
        with joined(config := ConfigParser.from_args(options)):
            main(config, options.output, options.ema)

    run_main(run)
