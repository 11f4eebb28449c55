"""Takes out of the rooms' READMEs what a project does not have: rows, sections and links."""

from __future__ import annotations

import re
import shlex
import textwrap
from collections.abc import Iterable
from pathlib import Path

from config.check.project import USER_FOLDERS
from utils.project.needs import COMMAND, FIRST_CONFIG
from utils.project.record import Record

BLOCK = re.compile(r"```.*?```", re.DOTALL)
WRITTEN = re.compile(r"Write\s`config/([\w.-]+)`")
EXAMPLES = ("config.json", "breast_cancer_mlp.yaml")  # any config would do in their commands
FIRST_STEPS = {"model": "Your first model", "data_loader": "Your first dataset"}
FILE = re.compile(r"`([\w/]+(?:\.py|/)|[\w.-]+\.(?:json|ya?ml))`")
LINK = re.compile(r"\[([^\[\]]+)\]\(([^)\s]+)\)")
POINTER = re.compile(r"(?<=[.\n]\s)[A-Z][^.\[]* (?:is|are) in \[[^\[\]]+\]\(([^)\s]+)\)\.\s+")
DEFINITION = re.compile(r"^\[([^\[\]]+)\]: (\S+)\n", re.MULTILINE)


def write_readme(framework: Path, project: Path, title: str, record: Record) -> None:
    """Writes the project's own README from the framework's template."""
    text = (framework / "utils/project/templates/README.md.in").read_text(encoding="utf-8")
    config = Path(record.config).name
    check = f"python train.py -c {config} --check    # tries everything on one batch"
    values = {"title": title, "version": record.version, "config": config}
    can_upgrade = "upgrades" in record.rooms
    values["upgrade"] = "python -m utils.upgrade"
    values["upgrade"] += "" if can_upgrade else f" --project {shlex.quote(f'../{title}')}"
    values["where"] = "" if can_upgrade else ", in the folder of the new version"
    values["check"] = check if "tools" in record.rooms else ""
    for name, value in values.items():
        text = text.replace(f"{{{{{name}}}}}", value)
    (project / "README.md").write_text(text.replace("\n\n```\n", "\n```\n"), encoding="utf-8")


def prune_readmes(framework: Path, project: Path, config: str) -> None:
    """Prunes the READMEs of the framework's folders in a project.

    Args:
        framework: the folder of the framework.
        project: the folder of the project.
        config: the name of its config, which takes the place of the framework's in commands.
    """
    if config == Path(FIRST_CONFIG).name:  # which the first steps change
        add_first_steps(framework, project)
    left_out = find_left_out(framework, project)
    readmes = sorted(project.glob("*/**/README.md"))
    for path in readmes:
        is_of_user = path.parent.name in USER_FOLDERS
        text = path.read_text(encoding="utf-8")
        text = remove_sections(project, text, left_out if is_of_user else ())
        text = remove_mentions(text, left_out, with_folder=not is_of_user)
        text = remove_rows(path.parent, text)
        for name in EXAMPLES:
            if not (project / "config" / name).is_file():
                text = re.sub(rf"((?:-c|extends:) ){re.escape(name)}", rf"\g<1>{config}", text)
        path.write_text(text, encoding="utf-8")
    for path in readmes:  # when all headings are final
        text = path.read_text(encoding="utf-8")
        path.write_text(remove_links(project, path, text), encoding="utf-8")


def add_first_steps(framework: Path, project: Path) -> None:
    """Gives the READMEs of models and data the sections of the framework's README about them."""
    readme = (framework / "README.md").read_text(encoding="utf-8")
    sections = re.split(r"^(?=## )", readme, flags=re.MULTILINE)
    for folder, title in FIRST_STEPS.items():
        path = project / folder / "README.md"
        to_itself = re.compile(rf"\s[A-Z][^.]*\[[^\]]*\]\({folder}/README\.md\)[^.]*\.")
        text = path.read_text(encoding="utf-8")
        for section in sections:
            if section.startswith(f"## {title}\n"):
                text += f"\n{to_itself.sub('', section).rstrip()}\n"
        (anchor,) = list_anchors(f"# {title}")
        text = text.replace(f"(../README.md#{anchor})", f"(#{anchor})")
        path.write_text(text, encoding="utf-8")


def find_left_out(framework: Path, project: Path) -> list[str]:
    """Lists the examples of the framework that the project does not have, as relative paths."""
    patterns = [*(f"{folder}/*.py" for folder in USER_FOLDERS), "config/*.json", "config/*.yaml"]
    paths = [
        path.relative_to(framework) for pattern in patterns for path in framework.glob(pattern)
    ]
    names = [path.as_posix() for path in paths if path.name != "schema.json"]
    return sorted(name for name in names if not (project / name).is_file())


def remove_mentions(text: str, left_out: Iterable[str], with_folder: bool) -> str:
    """Removes what the text says about examples that the project does not have.

    These are clauses such as "as `gan.py` does", and sentences that begin with the name of a file.

    Args:
        text: a README.
        left_out: the examples.
        with_folder: another file may have the same name, so only ``trainer/gan.py`` is the example.
    """
    names = [name for name in left_out if not name.startswith("config/")]
    names += [] if with_folder else [Path(name).name for name in left_out]
    if not names:
        return text
    file = f"`(?:{'|'.join(map(re.escape, names))})`"
    clause = rf"[,;]\s(?:as\sin|as|see)\s{file}(?:\sdoes)?(?=[\s,.;])"
    sentence = rf"(?<=\.\s){file}(?:[^.`]|`[^`]*`)*\.\s"
    gone = re.compile(rf"{clause}|{sentence}|(?<=\| ){file}, (?=\[)")
    pieces = re.split(r"(\n\n|\n(?=[-|]))", text)
    return "".join(
        _fill(left) if (left := gone.sub("", piece)) != piece else piece for piece in pieces
    )


def _fill(piece: str) -> str:
    """Breaks the lines of a paragraph or an item of a list again; a row of a table stays."""
    if piece.startswith("|"):
        return piece
    return textwrap.fill(
        " ".join(piece.split()),
        100,
        subsequent_indent="  " if piece.startswith("- ") else "",
        break_long_words=False,
        break_on_hyphens=False,
    )


def remove_sections(project: Path, text: str, left_out: Iterable[str] = ()) -> str:
    """Removes each section whose commands or configs need an example that the project lacks.

    Args:
        project: its folder.
        text: a README.
        left_out: examples that the configs of a section must not use.
    """
    stems = "|".join(Path(name).stem for name in left_out if name.endswith(".py"))
    names = "|".join(re.escape(Path(name).name) for name in left_out)
    needed = re.compile(rf"type: (?:{stems})\.|extends: (?:{names})" if names else r"(?!)")
    written = set(WRITTEN.findall(text))
    pieces = re.split(r"^(?=##+ )", BLOCK.sub(_hide_comments, text), flags=re.MULTILINE)
    return "".join(
        piece
        for index, piece in enumerate(pieces)
        if index == 0
        or not (
            _lacks_example(project, piece, written) or any(map(needed.search, BLOCK.findall(piece)))
        )
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
    """Replaces each link that leads nowhere by its text, or removes what says nothing but the link.

    The latter are rows of a table with such links only in their last cell, and sentences such as
    "An example is in [there](gone.md).".
    """
    for name, target in DEFINITION.findall(text):
        if not _exists(project, path, target, text):
            text = text.replace(f"[{name}]: {target}\n", "")
            text = text.replace(f"][{name}]", "]()").replace(f"[{name}]", name)

    def is_dead_row(line: str) -> bool:
        """Whether the last cell of a table's row has nothing but links that lead nowhere."""
        cell = line.strip().rstrip("|").rpartition("|")[2]
        is_of_links = line.startswith("| ") and not re.search(r"\w", LINK.sub("", cell))
        links = [target for _, target in LINK.findall(cell)]
        return (
            bool(links)
            and is_of_links
            and not any(_exists(project, path, link, text) for link in links)
        )

    def replace(match: re.Match[str]) -> str:
        return match[0] if _exists(project, path, match[2], text) else match[1]

    text = re.sub(r"\[([^\[\]]+)\]\(\)", r"\1", text)
    text = POINTER.sub(
        lambda match: match[0] if _exists(project, path, match[1], text) else "", text
    )
    lines = text.splitlines(keepends=True)
    return "".join(LINK.sub(replace, line) for line in lines if not is_dead_row(line))


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
