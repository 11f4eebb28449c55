"""What a study keeps about its search, so that another search is not mixed with it."""

from __future__ import annotations

import json
from typing import Any

from base.groups.options import SearchOptions
from base.groups.proposal import Space, to_text
from base.groups.space import Choices, Range
from base.tools.run_record import Objective
from utils.errors import shorten

Facts = dict[str, Any]


def get_facts(options: SearchOptions, space: Space, objective: Objective, seed: int) -> Facts:
    """Returns what must not change during a search, as JSON."""
    facts = {
        "space": {key: _describe(item) for key, item in space.items()},
        "sampler": options.sampler,
        "monitor": f"{objective.mode} {objective.metric}",
        "seed": seed,
    }
    as_stored: Facts = json.loads(json.dumps(facts))
    return as_stored


def _describe(item: Choices | Range) -> Any:
    if isinstance(item, Choices):
        return item.values
    return {"low": item.low, "high": item.high} | {
        key: value for key, value in (("log", item.log), ("step", item.step)) if value
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
