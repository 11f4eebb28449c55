"""Uses the new code of the user's folders after an edit, without a restart of the kernel."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
from pathlib import Path

from config.check import forwarding, project, slots
from config.check.project import ROOT, USER_FOLDERS

_seen: dict[Path, bytes] | None = None  # the files of the user's folders at the last run


def reload_edited_code() -> None:
    """Forgets the modules of the user's folders if one of their files has changed.

    All of them go, because they import each other. The next import reads the files again.
    """
    global _seen
    before, _seen = _seen, read_files()
    importlib.invalidate_caches()
    if _seen == before:
        return
    for path, content in _seen.items():
        if before is None or before.get(path) != content:
            # Python compares the time of a file in seconds, and an edit may keep its length.
            with contextlib.suppress(OSError):
                Path(importlib.util.cache_from_source(str(path))).unlink()
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in USER_FOLDERS and _is_of_project(module):
            del sys.modules[name]
    slots.get_names.cache_clear()
    project.get_trusted_packages.cache_clear()
    forwarding.find_forwarding.cache_clear()


def read_files() -> dict[Path, bytes]:
    """Reads the Python files of the user's folders."""
    found = {}
    for folder in USER_FOLDERS:
        for path in (ROOT / folder).rglob("*.py"):
            with contextlib.suppress(OSError):  # it has just been deleted
                found[path] = path.read_bytes()
    return found


def _is_of_project(module: object) -> bool:
    paths = getattr(module, "__path__", None) or [getattr(module, "__file__", None) or ""]
    return any(Path(path).is_relative_to(ROOT) for path in paths)
