"""Reading the checkpoint from which a trainer goes on."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Any

from torch.optim import Optimizer

from base.checkpoint.file import load_newest
from base.checkpoint.train_state import FORMAT, KINDS, parts_of
from base.parallel.strategy import unwrap
from utils.distributed import broadcast, is_main
from utils.errors import UserError


def read_newest(trainer: Any, path: Path) -> tuple[dict[str, Any], Path]:
    """The state in ``path``, or in the newest good checkpoint before it; of what is in shards, this rank's part.

    Raises:
        UserError: the checkpoint is missing, damaged, or none of a trainer.
    """
    state, path = broadcast(load_newest(path, trainer.logger) if is_main() else None)
    kinds = {"state_dict": dict, "epoch": int, "optimizer": dict, "config": object}
    kinds |= {key: kind for key, kind in KINDS.items() if key in state}
    wrong = [key for key, kind in kinds.items() if not isinstance(state.get(key), kind)]
    wrong += ["epoch"] * (not wrong and (state["epoch"] < 0 or state["epoch"] is True))
    if wrong or state["config"] is None or state.get("format", FORMAT) != FORMAT:
        raise UserError(
            f"{path}: is no checkpoint to resume from: {', '.join(wrong) or 'its format'} does not fit"
        )
    if "shards" not in state:
        return state, path
    from base.checkpoint.sharded import filled

    own = {
        f"state_dict.{name}": value for name, value in unwrap(trainer.model).state_dict().items()
    }
    for name, part in {"optimizer": trainer.optimizer, **parts_of(trainer)}.items():
        groups = part.param_groups if isinstance(part, Optimizer) else []
        where = name if part is trainer.optimizer else f"parts.{name}"
        parameters = chain.from_iterable(group["params"] for group in groups)
        own |= {f"{where}.state.{place}": parameter for place, parameter in enumerate(parameters)}
    return filled(
        state, path, lambda where: own.get(where, own.get(where.rpartition(".")[0]))
    ), path
