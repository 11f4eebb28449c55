"""Adapts ``pyproject.toml`` to what a project has."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from utils.project.needs import Needs

DEV = ("import-linter", "mypy", "pytest-xdist", "ruff", "types-PyYAML", "types-tqdm")
ROOM_EXTRAS = {"groups": "search", "notebook": "notebook"}  # the libraries of a room
NAMED_MODULE = re.compile(r'^ *"([a-z_.*]+)(?: -> ([a-z_.*]+))?",')
SECTION = re.compile(r"^(?=\[)", re.MULTILINE)
SHORT_LIST = re.compile(
    r'^((?:forbidden|source)_modules|ignore_imports) = \[(".*)\]$', re.MULTILINE
)
LAYERS = re.compile(r'^( *)"([a-z_.| ]+)",', re.MULTILINE)


def adapt_settings(project: Path, needs: Needs, rooms: Sequence[str]) -> None:
    """Removes from ``pyproject.toml`` what names a module or library that the project lacks.

    Args:
        project: the folder of the project, without the rooms that it does not want.
        needs: what its experiment needs.
        rooms: the optional rooms that it has.
    """
    path = project / "pyproject.toml"
    sections = SECTION.split(path.read_text(encoding="utf-8"))
    adapted = [adapt_section(project, section, needs, rooms) for section in sections]
    path.write_text("".join(adapted), encoding="utf-8")


def adapt_section(project: Path, section: str, needs: Needs, rooms: Sequence[str]) -> str:
    """Returns a section of ``pyproject.toml`` for the project; empty if nothing of it is left."""
    if section.startswith("[project]"):
        section = section.replace('name = "plainloop"', 'name = "project"')
        text = 'description = "A project made with Plainloop."'
        section = re.sub(r"^description = .*$", text, section, flags=re.MULTILINE)
        section = re.sub(r"^license = .*\n", "", section, flags=re.MULTILINE)
        return section if "wandb" in rooms else section.replace('    "wandb",\n', "")
    if section.startswith("[project.optional-dependencies]"):
        return adapt_extras(section, needs, rooms)
    if section.startswith("[[tool.importlinter.contracts]]"):
        return adapt_contract(project, section)
    return section


def adapt_extras(section: str, needs: Needs, rooms: Sequence[str]) -> str:
    """Returns the optional groups, with what the experiment needs in ``dev``."""
    section = re.sub(r"^bench = .*\n", "", section, flags=re.MULTILINE)
    libraries = set(DEV)
    names = needs.extras | {ROOM_EXTRAS[room] for room in rooms if room in ROOM_EXTRAS}
    for name in names:
        if match := re.search(rf"^{name} = \[(.*)\]$", section, re.MULTILINE):
            libraries |= {word.strip().strip('"') for word in match[1].split(",")}
    lines = "".join(f'    "{name}",\n' for name in sorted(libraries))
    return re.sub(r"^dev = \[.*?^\]", f"dev = [\n{lines}]", section, flags=re.MULTILINE | re.DOTALL)


def adapt_contract(project: Path, section: str) -> str:
    """Removes the modules that are not there from a contract; returns nothing without modules."""
    kept = []
    for line in section.splitlines(keepends=True):
        match = NAMED_MODULE.match(line)
        modules = [name for name in match.groups() if name and "*" not in name] if match else []
        if all(_exists(project, name) for name in modules):
            kept.append(LAYERS.sub(lambda match: _keep_layer(project, match), line))
    text = "".join(line for line in kept if line.strip() != '"",')
    text = SHORT_LIST.sub(lambda match: _keep_list(project, match), text)
    is_empty = re.search(r"^(source|forbidden)_modules = \[\s*\]$", text, re.MULTILINE)
    return "" if is_empty else text


def _keep_layer(project: Path, match: re.Match[str]) -> str:
    names = [name for name in match[2].split(" | ") if _exists(project, name)]
    return f'{match[1]}"{" | ".join(names)}",'


def _keep_list(project: Path, match: re.Match[str]) -> str:
    items = re.findall(r'"[^"]+"', match[2])
    kept = [
        item
        for item in items
        if all(_exists(project, name) for name in item.strip('"').split(" -> "))
    ]
    return f"{match[1]} = [{', '.join(kept)}]"


def _exists(project: Path, module: str) -> bool:
    path = project / module.replace(".", "/")
    return path.is_dir() or path.with_suffix(".py").is_file()
