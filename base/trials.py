"""What a command of train.py does with a config, instead of the run."""

from __future__ import annotations

from typing import Any

from logger.run_folder import RunFolder

from .find_batch_size import FindBatchSize
from .lr_find import LrFind
from .trial import Trial


def run_kind(args: Any) -> type[RunFolder]:
    """What stands in the RunFolder's place, if the command line asks for it; else RunFolder."""
    asked = {Trial: args.check, LrFind: args.lr_find, FindBatchSize: args.find_batch_size}
    return next((kind for kind, wanted in asked.items() if wanted), RunFolder)
