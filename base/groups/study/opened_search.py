"""Opens a search: what its config says, and the study in its storage."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from base.groups.options import SearchOptions
from base.groups.plan.space import Space, read_space
from base.groups.study.ranking import rank_trials
from base.groups.study.records import FINISHED, TrialRecord
from base.groups.study.study import Study
from base.options import TrainerOptions, parse_monitor
from base.tools.run_record import Objective
from config import ConfigParser
from utils.checkpoints import GROUP
from utils.errors import UserError
from utils.options import make_options
from utils.util import read_json


class OpenedSearch(NamedTuple):
    """A search.

    Attributes:
        folder: of its runs.
        config: of the search.
        options: the section ``search``.
        space: by dotted key.
        objective: the monitored number.
        by_step: whether reports are counted in optimizer steps instead of epochs.
        study: its trials.
    """

    folder: Path
    config: ConfigParser
    options: SearchOptions
    space: Space
    objective: Objective
    by_step: bool
    study: Study

    def rank_trials(self) -> list[TrialRecord]:
        """Lists the finished trials, the best first."""
        trials = [trial for trial in self.study.list_trials() if trial.state == FINISHED]
        return rank_trials(trials, self.objective)


def open_search(config: ConfigParser, folder: Path) -> OpenedSearch:
    """Opens the search of a config.

    Raises:
        UserError: the storage cannot be used, or holds another search.
    """
    options = make_options(SearchOptions, config["search"])
    trainer = TrainerOptions.from_section(config["trainer"])
    space, objective = read_space(options), Objective(*parse_monitor(trainer.monitor))
    name = "/".join(folder.resolve().parts[-2:])
    study = Study(name, options.storage, folder, options, space, objective, config.seed)
    by_step = trainer.validate_steps is not None
    return OpenedSearch(folder, config, options, space, objective, by_step, study)


def read_search(folder: Path) -> OpenedSearch:
    """Opens the search in a folder.

    Raises:
        UserError: it holds no search, or its storage cannot be used.
    """
    path = folder / GROUP
    content = read_json(path) if path.is_file() else {}
    if not isinstance(content.get("search"), dict):
        raise UserError(f"{folder}: is not the folder of a search")
    return open_search(ConfigParser(content), folder)
