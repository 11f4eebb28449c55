"""All hostile checkpoints: those of a stranger who wants more than to have them trained on."""

from __future__ import annotations

from tests.fuzz.hostile_folders import (
    configs,
    links,
    named_checkpoints,
    record_files,
    special_folders,
)
from tests.fuzz.hostile_formats import archives, formats
from tests.fuzz.hostile_pickles import pickles, trusted_names
from tests.fuzz.hostile_runs import Case
from tests.fuzz.hostile_states import states, weights


def make_cases() -> list[Case]:
    groups = (
        pickles,
        trusted_names,
        formats,
        archives,
        states,
        weights,
        configs,
        record_files,
        links,
        named_checkpoints,
        special_folders,
    )
    return [case for group in groups for case in group()]
