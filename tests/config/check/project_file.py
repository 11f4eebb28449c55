"""Helpers: files that a test adds to the project, and the error of a name."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest

from base.schema import SCHEMA
from config.check.slots import resolve
from utils.errors import UserError


def add_project_file(monkeypatch: pytest.MonkeyPatch, name: str, **members: Any) -> None:
    """Adds a module to the project that defines ``members``."""
    module = ModuleType(name)
    for key, member in members.items():
        if callable(member):
            member.__module__ = name
        setattr(module, key, member)
    monkeypatch.setitem(sys.modules, name, module)


def get_error(name: str, slot: str) -> str:
    with pytest.raises(UserError) as caught:
        resolve(name, {**SCHEMA.slots, **SCHEMA.section_slots}[slot])
    assert "\n" not in str(caught.value)
    return str(caught.value)
