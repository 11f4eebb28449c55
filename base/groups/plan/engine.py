"""The samplers and pruners of Optuna that a search takes.

Every start of the framework imports this file, so it does not import Optuna.
"""

from __future__ import annotations

from config.check.slots import Slot

GRID, RANDOM, TPE = "grid", "random", "tpe"
LIBRARY = "optuna"
MISSING = "needs optuna, which is not installed; pip install '.[search]' installs it"
NO_TRIALS = "needs 'trials', the number of trials; only 'sampler: grid' ends by itself"
_SAMPLERS, _PRUNERS = "optuna.samplers", "optuna.pruners"
_EACH_ONCE = "write 'grid', which tries each point exactly once, also after a stop"
SLOTS = {
    "sampler": Slot(
        "trainer",
        (_SAMPLERS,),
        f"{_SAMPLERS}.BaseSampler",
        nests="search.sampler",
        words=(GRID, RANDOM, TPE),
        allows_name=True,
        is_class_only=True,
        refused=(("GridSampler", _EACH_ONCE), ("BruteForceSampler", _EACH_ONCE)),
    ),
    "pruner": Slot(
        "trainer",
        (_PRUNERS,),
        f"{_PRUNERS}.BasePruner",
        nests="search.pruner",
        allows_name=True,
        is_class_only=True,
        refused=(("NopPruner", "write null, or leave out the key"),),
    ),
}
