"""Finds runs and groups by the words of a command line."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from base.tools.group_record import GroupRecord, Record, is_group
from base.tools.run_record import RunRecord
from utils.checkpoints import CONFIG
from utils.errors import UserError, abbreviate, did_you_mean


def unfold(records: Iterable[Record]) -> Iterator[Record]:
    """Yields records, and after each group its members, also those of repeated trials."""
    for record in records:
        yield record
        if isinstance(record, GroupRecord):
            yield from unfold(record.members)


def list_all_runs(records: Iterable[Record]) -> list[RunRecord]:
    """Returns the runs among records and their members."""
    return [record for record in unfold(records) if isinstance(record, RunRecord)]


def select_records(records: list[Record], name: str) -> list[Record]:
    """Returns the records of an experiment, or the single one that ``name`` names.

    Raises:
        UserError: there are none.
    """
    name = name.rstrip("/") or name
    found = [record for record in records if record.experiment == name]
    if found:
        return found
    matches = _match(records, name)
    if len(matches) == 1:
        return matches
    names = sorted({record.experiment for record in records})
    choices = [*names, *(record.name for record in records)]
    hint = f"{did_you_mean(name, choices)}; there are {', '.join(names) or 'none'}"
    _refuse_several(matches, name)
    raise UserError(f"{name}: no run has this name{hint}")


def find_record(records: list[Record], word: str) -> Record:
    """Returns the run or the group that ``word`` names.

    Args:
        records: with their members, all that there are.
        word: a folder, NAME/ID, an ID that is unique, or the last word of one.

    Raises:
        UserError: there is none, or there are several.
    """
    matches = _match(records, word.rstrip("/"))
    _refuse_several(matches, word)
    if not matches:
        hint = did_you_mean(word, [record.name for record in unfold(records)])
        raise UserError(f"{word}: no such run{hint}; `list` shows them")
    return matches[0]


def _match(records: list[Record], word: str) -> list[Record]:
    """Returns what ``word`` names; a full name comes before an id, and an id before its end."""
    folder = Path(word)
    with contextlib.suppress(OSError):  # the word is too long for a path
        if (folder / CONFIG).is_file():
            return [RunRecord(folder)]
        if is_group(folder):
            return [GroupRecord(folder)]
    everything = list(unfold(records))
    names = {record.name: record for record in everything}
    if word in names:
        return [names[word]]
    ids = [record for record in everything if record.name.partition("/")[2] == word]
    return ids or [record for record in everything if record.folder.name == word]


def _refuse_several(matches: list[Record], word: str) -> None:
    if len(matches) > 1:
        names = [record.name for record in matches]
        joined = " and ".join(names) if len(names) == 2 else abbreviate(names)
        raise UserError(f"{word}: {joined} have this id; give NAME/RUN_ID")
