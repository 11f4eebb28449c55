"""Takes out of the rooms' READMEs what a project does not have: rows, sections and links."""

from __future__ import annotations

import re
from pathlib import Path

from utils.project.needs import COMMAND
from utils.project.record import Record

BLOCK = re.compile(r"```.*?```", re.DOTALL)
WRITTEN = re.compile(r"Write\s`config/([\w.-]+)`")
EXAMPLES = ("config.json", "breast_cancer_mlp.yaml")  # any config would do in their commands
FILE = re.compile(r"`([\w/]+(?:\.py|/)|[\w.-]+\.(?:json|ya?ml))`")
LINK = re.compile(r"\[([^\[\]]+)\]\(([^)\s]+)\)")
DEFINITION = re.compile(r"^\[([^\[\]]+)\]: (\S+)\n", re.MULTILINE)


def write_readme(framework: Path, project: Path, title: str, record: Record) -> None:
    """Writes the project's own README from the framework's template."""
    text = (framework / "utils/project/templates/README.md.in").read_text(encoding="utf-8")
    config = Path(record.config).name
    check = f"python train.py -c {config} --check    # tries everything on one batch"
    values = {"title": title, "version": record.version, "config": config}
    values["check"] = check if "tools" in record.rooms else ""
    for name, value in values.items():
        text = text.replace(f"{{{{{name}}}}}", value)
    (project / "README.md").write_text(text.replace("\n\n```\n", "\n```\n"), encoding="utf-8")


def prune_readmes(project: Path, config: str) -> None:
    """Prunes the READMEs of the framework's folders in a project.

    Args:
        project: the folder of the project.
        config: the name of its config, which takes the place of the framework's in commands.
    """
    readmes = sorted(project.glob("*/**/README.md"))
    for path in readmes:
        text = path.read_text(encoding="utf-8")
        text = remove_sections(project, text)
        text = remove_rows(path.parent, text)
        for name in EXAMPLES:
            if not (project / "config" / name).is_file():
                text = re.sub(rf"((?:-c|extends:) ){re.escape(name)}", rf"\g<1>{config}", text)
        path.write_text(text, encoding="utf-8")
    for path in readmes:  # when all headings are final
        text = path.read_text(encoding="utf-8")
        path.write_text(remove_links(project, path, text), encoding="utf-8")


def remove_sections(project: Path, text: str) -> str:
    """Removes each section whose commands need an example that the project does not have."""
    written = set(WRITTEN.findall(text))
    pieces = re.split(r"^(?=##+ )", BLOCK.sub(_hide_comments, text), flags=re.MULTILINE)
    return "".join(
        piece
        for index, piece in enumerate(pieces)
        if index == 0 or not _lacks_example(project, piece, written)
    ).replace("\0", "#")


def _hide_comments(match: re.Match[str]) -> str:
    """A line of code that begins with ``##`` is no heading."""
    return re.sub(r"^#", "\0", match[0], flags=re.MULTILINE)


def _lacks_example(project: Path, section: str, written: set[str]) -> bool:
    named = {name for block in BLOCK.findall(section) for name in COMMAND.findall(block)}
    known = written | set(EXAMPLES)
    return any(not (project / "config" / name).is_file() for name in named - known)


def remove_rows(folder: Path, text: str) -> str:
    """Removes the files that are not there from the first cells of tables, and empty rows."""
    lines = []
    for line in text.splitlines(keepends=True):
        cells = line.split("|")
        if not line.startswith("| ") or len(cells) < 3:
            lines.append(line)
            continue
        named = FILE.findall(cells[1])
        gone = [name for name in named if not any(_find(folder, name))]
        if not gone:
            lines.append(line)
        elif len(gone) < len(named):
            left = ", ".join(f"`{name}`" for name in named if name not in gone)
            lines.append("|".join(["", f" {left} ", *cells[2:]]))
    return "".join(lines)


def _find(folder: Path, name: str) -> list[Path]:
    return [*folder.glob(name), *folder.glob(f"*/{name}")]


def remove_links(project: Path, path: Path, text: str) -> str:
    """Replaces each link that leads nowhere in the project by its text."""
    for name, target in DEFINITION.findall(text):
        if not _exists(project, path, target, text):
            text = text.replace(f"[{name}]: {target}\n", "")
            text = text.replace(f"][{name}]", "]()").replace(f"[{name}]", name)

    def replace(match: re.Match[str]) -> str:
        return match[0] if _exists(project, path, match[2], text) else match[1]

    text = re.sub(r"\[([^\[\]]+)\]\(\)", r"\1", text)
    return LINK.sub(replace, text)


def _exists(project: Path, path: Path, link: str, text: str) -> bool:
    file, _, heading = link.partition("#")
    if link.startswith(("https://", "http://")):
        return True
    target = path.parent / file if file else path
    if file and target.resolve() == (project / "README.md").resolve():
        return False  # the project's README is another one
    if not target.exists():
        return False
    if heading and target.is_file():
        content = text if target == path else target.read_text(encoding="utf-8")
        return heading in list_anchors(content)
    return True


def list_anchors(text: str) -> list[str]:
    """Returns the anchors that GitHub makes of the headings."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]
