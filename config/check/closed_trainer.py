"""Finds options of the ``trainer`` section that no trainer takes."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from config.check.findings import Findings, find_typo
from config.check.project import FRAMEWORK
from config.check.shapes import is_comment
from config.check.signature import Signature
from config.read.tree import Keys
from utils.errors import did_you_mean

READS_SECTION = re.compile(r"""\[\s*["']trainer["']\s*\]|config\.trainer\b|get\(\s*["']trainer""")


def check_unknown_options(
    checker: Findings,
    trainer_class: Any,
    signature: Signature,
    section: Mapping[str, Any],
    known: Iterable[str],
) -> None:
    """Refuses keys that are neither an option nor an argument, if the trainer can read no other.

    A trainer may read any key if it takes other arguments, if its code reads the section or names
    the key, or if it has a loop of its own. The keys of an earlier run are no longer refused.

    Args:
        checker: gets the findings.
        trainer_class: of the section.
        signature: of its constructor.
        section: the section ``trainer``.
        known: all its options and arguments.
    """
    known = ["type", *known]
    keys = [key for key in section if key not in known and not is_comment(key)]
    if not keys or signature.is_open or not hasattr(trainer_class, "logged_names"):
        return
    sources = list(read_sources(trainer_class))
    if None in sources or any(READS_SECTION.search(source or "") for source in sources):
        return
    for key in keys:
        path: Keys = ("trainer", key)
        is_old = checker.tree.is_saved and not checker.tree.is_overridden(path)
        is_named = any(re.search(rf"\b{re.escape(key)}\b", source or "") for source in sources)
        if is_old or is_named or find_typo(key, known):  # which is reported already
            continue
        hint = did_you_mean(key, known)
        message = f"unknown key{hint}; {trainer_class.__name__} has no such option"
        if not hint:
            message += ". An option of your own is an argument of its constructor"
        checker.fail(path, message)


def read_sources(trainer_class: type) -> Iterator[str | None]:
    """The text of each file with a class of the project; None if it cannot be read."""
    for module in dict.fromkeys(kind.__module__ for kind in trainer_class.__mro__[:-1]):
        if module.partition(".")[0] in (FRAMEWORK, "abc"):
            continue
        try:
            yield inspect.getsource(sys.modules[module])
        except (KeyError, OSError, TypeError):
            yield None
