"""What a study keeps about its search, so that another search is not mixed with it."""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

from base.groups.options import SearchOptions
from base.groups.plan.space import Choices, Entry, Space
from base.groups.study.proposal import to_text
from base.groups.study.storage import KEY
from base.tools.run_record import Objective
from utils.errors import UserError, shorten
from utils.files import write_text

if TYPE_CHECKING:
    import optuna
    from optuna.storages import BaseStorage

FACTS = "search"  # the attribute of the study that holds what must not change
FOLDER = "folder"  # the attribute of the study that holds the folder's token
TOKEN = ".storage-key"  # the file in the folder of the search that holds it too

Facts = dict[str, Any]


def get_token(folder: Path) -> str:
    """Returns the key of ``folder``, which no other folder has, on any machine. Makes it first."""
    path = folder / TOKEN
    if not path.is_file():
        write_text(path, secrets.token_hex(8))
    return path.read_text()


def find_name(storage: BaseStorage, name: str) -> str:
    """Returns the name of the search in a storage of its own: the folder may have been renamed."""
    names = [study.study_name for study in storage.get_all_studies()]
    return names[0] if len(names) == 1 else name


def claim(study: optuna.Study, direction: str, facts: Facts, token: str, folder: Path) -> None:
    """Claims a study without trials for the search in ``folder``. Refuses that of another search.

    Args:
        study: in the storage.
        direction: ``minimize`` or ``maximize``.
        facts: of the search.
        token: of the folder; empty if the storage is in it.
        folder: of the search.

    Raises:
        UserError: the study has trials of another search.
    """
    if not study.get_trials(deepcopy=False) and study.direction.name.lower() == direction:
        study.set_user_attr(FOLDER, token)
        study.set_user_attr(FACTS, facts)
        return
    if difference := find_difference(study.user_attrs.get(FACTS), facts):
        message = f"holds another search under the name {study.study_name}: {difference}"
        raise UserError(f"{message}; choose another --run-id", key=KEY)
    if study.user_attrs.get(FOLDER) != token:
        message = f"holds the trials of {study.study_name}, but their runs are in another folder"
        raise UserError(f"{message} than {folder}; choose another --run-id", key=KEY)


def get_facts(options: SearchOptions, space: Space, objective: Objective, seed: int) -> Facts:
    """Returns what must not change during a search, as JSON."""
    facts = {
        "space": {key: _describe(entry) for key, entry in space.items()},
        "sampler": options.sampler,
        "monitor": f"{objective.mode} {objective.metric}",
        "seed": seed,
    }
    as_stored: Facts = json.loads(json.dumps(facts))
    return as_stored


def _describe(entry: Entry) -> Any:
    if isinstance(entry, Choices):
        return entry.values
    return {"low": entry.low, "high": entry.high} | {
        key: value for key, value in (("log", entry.log), ("step", entry.step)) if value
    }


def find_difference(stored: Facts | None, facts: Facts) -> str:
    """Returns the first difference between the facts of two searches, or an empty string."""
    if stored is None:
        return "its trials are of another program"
    there, here = _flatten(stored), _flatten(facts)
    for key in {**here, **there}:
        if key not in there:
            return f"{key} does not vary there"
        if key not in here or to_text(there[key]) != to_text(here[key]):
            return f"{key} is {shorten(json.dumps(there[key], ensure_ascii=False), 200)} there"
    return ""


def _flatten(facts: Facts) -> Facts:
    rest = {"search.sampler": "sampler", "trainer.monitor": "monitor", "seed": "seed"}
    space: Facts = facts["space"]
    return space | {name: facts[key] for name, key in rest.items()}
