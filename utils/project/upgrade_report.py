"""Says what an upgrade does to a project, and what to do next."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from utils.project.plan import Change, Kind
from utils.project.source import parse_version
from utils.tables import format_table

NEEDS_ATTENTION = (Kind.CONFLICT, Kind.BOTH_KEPT, Kind.BLOCKED)  # the user has to do something
EXPLAINED = (*NEEDS_ATTENTION, Kind.KEPT, Kind.STAYS_DELETED)  # each file with its note
MAX_NAMES = 6  # of files that were only replaced, added or removed; git lists all of them


def read_changelog(folder: Path, old: str, new: str) -> list[str]:
    """Returns the entries of the framework's CHANGELOG after version ``old`` up to ``new``."""
    path = folder / "CHANGELOG.md"
    if not path.is_file():
        return []
    lines: list[str] = []
    is_shown = False
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            found = re.match(r"## v?([\d.]+)", line)
            version = parse_version(found[1]) if found else ()
            is_shown = parse_version(old) < version <= parse_version(new)
        if is_shown:
            lines.append(line)
    return [*lines, ""] if lines and lines[-1] else lines


def make_report(title: str, changelog: list[str], changes: Sequence[Change]) -> str:
    """Returns what changes, as Markdown.

    Args:
        title: the first line.
        changelog: the framework's entries between the two versions.
        changes: of the files.
    """
    lines = [f"# {title}", ""]
    lines += [line.replace("## ", "## Version ", 1) for line in changelog]
    lines += ["## Files", ""]
    lines += _list_counts(changes) or ["No file changes."]
    for kind in EXPLAINED:
        found = [change for change in changes if change.kind is kind]
        if found:
            lines += ["", f"{kind.value.capitalize()}:", ""]
            lines += [f"- {change.path}: {change.note}" for change in found]
    return "\n".join(lines)


def _list_counts(changes: Sequence[Change]) -> list[str]:
    rows = []
    for kind in Kind:
        names = [change.path for change in changes if change.kind is kind]
        if names:
            is_long = kind in (Kind.NEW, Kind.REPLACED, Kind.REMOVED) and len(names) > MAX_NAMES
            shown = [*names[:MAX_NAMES], "…"] if is_long else names
            rows.append((kind.value, str(len(names)), ", ".join(shown)))
    return format_table(rows) if rows else []


def make_next_steps(changes: Sequence[Change], failures: Sequence[str], backup: str) -> str:
    """Returns what the user does after an upgrade.

    Args:
        changes: that were made.
        failures: of the checks after it.
        backup: the branch that keeps the project as it was.
    """
    conflicts = [change.path for change in changes if change.kind is Kind.CONFLICT]
    lines = ["## Next", ""]
    if conflicts:
        lines += [
            f"- Edit {', '.join(conflicts)} between the markers `<<<<<<< yours` and `>>>>>>>`,",
            "  then `git add` them.",
            "- `python -m config schema` and `git add config/schema.json`; `make test`.",
        ]
    if failures:
        lines += ["- Mend what failed:", *(f"    {failure}" for failure in failures)]
    if any(change.path == "pyproject.toml" for change in changes):
        lines.append("- `pip install .`, for pyproject.toml has changed; `make` does it by itself.")
    lines += [
        "- `git diff --cached` shows all changes, and `git commit` keeps them.",
        f"- `git reset --hard {backup}` undoes the upgrade, also after it was committed.",
    ]
    return "\n".join(lines)
