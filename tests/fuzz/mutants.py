"""Broken variants of the shipped configs, and what the error message must say about each.

A variant is a set of files and the words of a command line.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

import yaml

from tests.fuzz.components import get_base_configs, get_fitting_types, read_shipped_texts
from tests.fuzz.mistakes import (
    Mistake,
    bad_numbers,
    contradictions,
    deletions,
    list_arguments,
    moved_keys,
    wrong_types,
)
from tests.fuzz.render import Keys, Page, double_line, has_line_to_itself, render
from tests.fuzz.typos import key_typos, monitor_typos, name_typos, reference_typos
from tests.fuzz.values import get

# The size of the campaign by kind of mistake. If a kind has fewer mutants, all of them are in it.
QUOTAS = {
    "key typo": 700,
    "name typo": 350,
    "monitor typo": 80,
    "reference typo": 30,
    "wrong type": 600,
    "deletion": 200,
    "NaN": 100,
    "infinity": 100,
    "moved key": 250,
    "contradiction": 60,
    "double key": 200,
    "syntax": 350,
    "override typo": 150,
    "override type": 100,
    "bad path": 100,
}
MAKERS: tuple[Callable[[dict[str, Any], Random], Iterator[Mistake]], ...] = (
    key_typos,
    name_typos,
    monitor_typos,
    reference_typos,
    wrong_types,
    deletions,
    bad_numbers,
    moved_keys,
    contradictions,
)
SUFFIXES = (".json", ".yaml")


@dataclass
class Mutant:
    """A broken config, and what its error message must say.

    Attributes:
        kind: of mistake, a key of QUOTAS.
        files: texts by name.
        config: the argument of ``-c``.
        source: the start of the line: the file with the mistake, or the override up to its value.
        lines: the line numbers in ``source`` that the message may name; empty if there is no line.
        paths: the key paths that it may name; empty if the mistake is in no key.
        meant: valid suggestions, for a one-letter typo.
        words: the overrides on the command line.
        word: a text that the line must contain.
    """

    kind: str
    files: dict[str, str | bytes]
    config: str
    source: str
    lines: tuple[int, ...] = ()
    paths: tuple[str, ...] = ()
    meant: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    word: str = ""


def dotted(keys: Keys) -> str:
    return ".".join(str(key) for key in keys)


def make_campaign(seed: int = 0) -> list[Mutant]:
    """Returns all mutants, ordered by kind. The same seed gives the same mutants."""
    rng = Random(seed)
    found: dict[str, list[Any]] = defaultdict(list)
    for data in get_base_configs().values():
        for maker in MAKERS:
            for mistake in maker(data, rng):
                for suffix in (mistake.format,) if mistake.format else SUFFIXES:
                    found[mistake.kind].append((mistake, suffix))
        for mutant in (*double_keys(data, rng), *bad_overrides(data, rng), *bad_paths(data)):
            found[mutant.kind].append(mutant)
    found["syntax"] = list(syntax_errors(rng))
    chosen = (
        rng.sample(found[kind], min(quota, len(found[kind]))) for kind, quota in QUOTAS.items()
    )
    every = (mutant for mutants in chosen for mutant in mutants)
    return [mutant if isinstance(mutant, Mutant) else to_mutant(*mutant, rng) for mutant in every]


def to_mutant(mistake: Mistake, suffix: str, rng: Random) -> Mutant:
    """Writes a mistake as a file. One in five is in a file that the config extends."""
    page = render(mistake.data, suffix, rng.random() < 0.5)
    candidates = [mistake.keys, *mistake.also]
    if mistake.kind == "deletion":  # the message may name the section that lacks the key
        candidates += [mistake.keys[:-1], mistake.keys[:-2]]
    lines = {page.lines[keys] for keys in candidates if keys in page.lines}
    if mistake.kind == "deletion":
        lines = add_first_lines(lines, candidates, page)
    name = f"main{suffix}"
    files: dict[str, str | bytes] = {name: page.text}
    is_extended = len(mistake.keys) > 1 and rng.random() < 0.2
    if is_extended:
        name = f"base{suffix}"
        child = f"extends: {name}\ndescription: starts from another one\n"
        files = {name: page.text, "main.yaml": child}
    # For a section that lost its only key, "is empty" is a sufficient message.
    is_empty = mistake.keys[-1] == "type" and not get(mistake.data, mistake.keys[:-1])
    return Mutant(
        mistake.kind,
        files,
        "main.yaml" if is_extended else name,
        name,
        tuple(sorted(lines)),
        tuple(dotted(keys) for keys in candidates if keys),
        mistake.meant,
        word=str(mistake.keys[-1]) if mistake.kind == "deletion" and not is_empty else "",
    )


def add_first_lines(lines: set[int], candidates: list[Keys], page: Page) -> set[int]:
    """Adds the line of the first key in the section that lacks a key."""
    nearest = next(keys for keys in candidates if not keys or keys in page.lines)
    inside = [line for keys, line in page.lines.items() if keys[:-1] == nearest]
    first = min(inside) if inside else min(lines)
    return lines | {first} | (set() if nearest else {1})


def double_keys(data: dict[str, Any], rng: Random) -> Iterator[Mutant]:
    for suffix in SUFFIXES:
        page = render(data, suffix, rng.random() < 0.5)
        for keys, line in page.lines.items():
            if isinstance(keys[-1], str) and has_line_to_itself(page, keys):
                name, text = f"main{suffix}", double_line(page, keys)
                lines, paths = (line + 1,), (dotted(keys),)
                yield Mutant("double key", {name: text}, name, name, lines, paths)


def bad_overrides(data: dict[str, Any], rng: Random) -> Iterator[Mutant]:
    main = "main.json"
    files: dict[str, str | bytes] = {main: render(data, ".json", True).text}

    def make_mutant(kind: str, mistake: Mistake) -> Mutant:
        name = dotted(mistake.keys)
        words = (f"{name}={json.dumps(mistake.value)}",)
        paths = tuple(dotted(keys) for keys in (mistake.keys, *mistake.also))
        return Mutant(kind, files, main, f"{name}=", (), paths, mistake.meant, words)

    for mistake in (*key_typos(data, rng), *name_typos(data, rng)):
        yield make_mutant("override typo", mistake)
        if mistake.kind == "key typo" and rng.random() < 0.1:
            word = f"~{dotted(mistake.keys)}"
            yield Mutant("override typo", files, main, word, (), (), mistake.meant, (word,))
    # Where a text is wanted, an override that looks like a number is read as a text.
    texts = {
        keys
        for keys, parameter in list_arguments(data)
        if str in (get_fitting_types(parameter.annotation) or {str})
    }
    for mistake in wrong_types(data, rng):
        if mistake.keys not in texts and mistake.keys[-1] not in ("name", "description", "type"):
            yield make_mutant("override type", mistake)


def syntax_errors(rng: Random) -> Iterator[Mutant]:
    """Yields the texts of the shipped files with a character missing or added."""
    for name, text in read_shipped_texts().items():
        is_json = name.endswith(".json")
        main = f"main.{name.rpartition('.')[2]}"
        lines = text.splitlines()
        for number, line in enumerate(lines, start=1):
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            for damaged, until_end in _damage_line(line, is_json, rng):
                broken = "\n".join([*lines[: number - 1], *damaged, *lines[number:]]) + "\n"
                if not _is_broken(broken, is_json):
                    continue
                # A missing character may be noticed at the next text, and a missing quote or
                # bracket as late as the end of the file.
                rest = enumerate(lines[number:], start=number + 1)
                following = next((later for later, text in rest if text.strip()), number + 1)
                last = len(lines) + 2 if until_end else following + len(damaged) - 1
                yield Mutant("syntax", {main: broken}, main, main, tuple(range(number, last + 1)))


def _damage_line(line: str, is_json: bool, rng: Random) -> Iterator[tuple[list[str], bool]]:
    """Yields the lines that replace ``line``, and whether the error may show at the end only."""
    signs = [index for index, sign in enumerate(line) if sign in '{}[],:"']
    for index in rng.sample(signs, min(4, len(signs))):
        until_end = line[index] in "{}[]" or (not is_json and line[index] == '"')
        yield [line[:index] + line[index + 1 :]], until_end
    indent = len(line) - len(line.lstrip())
    yield [line, " " * indent + rng.choice(["stray", "}", "]", "// no comment"])], False
    if is_json:
        yield [line.replace('"', "'")], False
        yield [line + ","], False
        yield [line.replace("true", "True")], False
    else:
        yield ["\t" + line.lstrip()], False
        yield [" " + line], False
        yield [line[1:]], False
        yield [line.replace(": ", ": @", 1)], False
        yield [line.replace(": ", ": *", 1)], False


def _is_broken(text: str, is_json: bool) -> bool:
    try:
        if is_json:
            json.loads(text)
        else:
            yaml.compose(text)
    except (ValueError, yaml.YAMLError):
        return True
    return False


def bad_paths(data: dict[str, Any]) -> Iterator[Mutant]:
    """Yields configs that extend a file they cannot, and paths that lead to no config."""
    for suffix in SUFFIXES:
        yield from _bad_bases(suffix, render(data, suffix, True).text)
        main = f"main{suffix}"
        blank = "# nothing\n" if suffix == ".yaml" else " \n"
        for content in ("", blank, "[1, 2]", b"\xff\xfe\x00x", "5"):
            yield Mutant("bad path", {main: content}, main, main)
        yield Mutant("bad path", {}, main, main)
        yield Mutant("bad path", {}, f"config/{main}", f"config/{main}")
        yield Mutant("bad path", {"main/x": ""}, "main", "main")
        save_dir = ("trainer", "save_dir")
        trainer = data["trainer"] | {"save_dir": f"{main}/runs"}
        blocked = render(data | {"trainer": trainer}, suffix, True)
        lines, paths = (blocked.lines[save_dir],), (dotted(save_dir),)
        yield Mutant("bad path", {main: blocked.text}, main, main, lines, paths)


def _bad_bases(suffix: str, valid_text: str) -> Iterator[Mutant]:
    main, good, other = f"main{suffix}", f"good{suffix}", f"other{suffix}"

    def extend(target: Any) -> Page:
        return render({"name": "x", "extends": target, "seed": 1}, suffix, False)

    lists = [good, "nosuch.yaml"]
    typos = (f"{good}x", good[1:])
    for target in ("nosuch.json", main, ".", "../..", 5, lists, *typos):
        page = extend(target)
        files: dict[str, str | bytes] = {main: page.text, good: valid_text}
        lines, paths = (page.lines[("extends",)],), ("extends", "extends.1")
        meant = (good,) if target in typos else ()
        yield Mutant("bad path", files, main, main, lines, paths, meant)
    circle: dict[str, str | bytes] = {main: extend(other).text, other: extend(main).text}
    lines = (extend(main).lines[("extends",)],)
    yield Mutant("bad path", circle, main, other, lines, ("extends",))
