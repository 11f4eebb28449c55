"""What a command of train.py does with a config, instead of the run."""

from __future__ import annotations

from typing import Any

from base.run import RunFolder
from base.tools.batch_size import FindBatchSize
from base.tools.check import Trial
from base.tools.lr_find import LrFind


def run_kind(args: Any) -> type[RunFolder]:
    """What stands in the RunFolder's place, if the command line asks for it; else RunFolder."""
    asked = {Trial: args.check, LrFind: args.lr_find, FindBatchSize: args.find_batch_size}
    return next((kind for kind, wanted in asked.items() if wanted), RunFolder)
