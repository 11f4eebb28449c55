"""Tells what of a pytorch-template project is the template's own: ``python -m utils.migrate PROJECT --check``."""

from __future__ import annotations

import argparse
from pathlib import Path

from utils.main import run_main

from .survey import Survey, read


def report(survey: Survey) -> list[str]:
    """A line for every file of the template's, and one for each of its definitions that has a name."""
    lines = []
    for file in filter(lambda file: file.templates, survey.files.values()):
        lines.append(f"{file.path}: {'gives way to ours' if file.gone else 'stays'}")
        for item in filter(lambda item: item.name, file.definitions):
            fate = "gives way" if item.gives_way else f"stays {item.why}".rstrip()
            what = "the template's own, " + fate if item.kind == "own" else item.kind
            lines.append(f"  {item.name} (line {item.start}): {what}")
    return lines + [f"{path}: does not parse ({why})" for path, why in survey.unread.items()]


def main(project: Path) -> None:
    print("\n".join(report(read(project))))


if __name__ == "__main__":
    args = argparse.ArgumentParser(prog="python -m utils.migrate", description="Reads a pytorch-template project.")
    args.add_argument("project", type=Path, help="its folder; it is read, neither run nor changed")
    args.add_argument("--check", action="store_true", required=True, help="report only (all that there is so far)")
    options = args.parse_args()
    run_main(lambda: main(options.project))
