"""Broken variants of the shipped configs as files and words on the command line, with what must be told of each."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

import yaml

from tests.fuzz.changes import MAKERS, Change, arguments, at, key_typos, name_typos, wrong_types
from tests.fuzz.known import bases, kinds, shipped_texts
from tests.fuzz.render import Keys, Page, double_line, own_line, render

# How many of each kind there are in the campaign; fewer where there are not as many.
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


@dataclass
class Mutant:
    """A broken config and what must be told of it.

    Attributes:
        kind: of mistake; the keys of QUOTAS.
        files: names and texts; ``config`` is the one that ``-c`` names.
        words: overrides on the command line.
        source: what the line starts with: the file that holds the mistake, or the override up to its value.
        lines: those of ``source`` that may be told; none where there is no line to tell.
        paths: key paths that may be told; none where the mistake is in no key.
        meant: what a suggestion may say, for a one-letter typo.
        word: that the line must hold.
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


def campaign(seed: int = 0) -> list[Mutant]:
    """All mutants, those of a kind together; the same for the same seed."""
    rng = Random(seed)
    found: dict[str, list[Any]] = defaultdict(list)
    for data in bases().values():
        for maker in MAKERS:
            for change in maker(data, rng):
                for suffix in (change.format,) if change.format else (".json", ".yaml"):
                    found[change.kind].append((change, suffix))
        for mutant in (*doubles(data, rng), *overrides(data, rng), *bad_paths(data, rng)):
            found[mutant.kind].append(mutant)
    found["syntax"] = list(damages(rng))
    chosen = (
        rng.sample(found[kind], min(quota, len(found[kind]))) for kind, quota in QUOTAS.items()
    )
    every = (mutant for mutants in chosen for mutant in mutants)
    return [mutant if isinstance(mutant, Mutant) else in_file(*mutant, rng) for mutant in every]


def in_file(change: Change, suffix: str, rng: Random) -> Mutant:
    """A change as a file; one in five times as a file that another one extends."""
    page = render(change.data, suffix, rng.random() < 0.5)
    places = [change.keys, *change.also]
    if (
        change.kind == "deletion"
    ):  # the section that lacks it may be told, or where a section's first key stands
        places += [change.keys[:-1], change.keys[:-2]]
    lines = {page.lines[place] for place in places if place in page.lines}
    if change.kind == "deletion":
        nearest = next(place for place in places if not place or place in page.lines)
        first = min(
            (line for place, line in page.lines.items() if place[:-1] == nearest), default=0
        )
        lines |= {first or min(lines)} | (set() if nearest else {1})
    paths = [dotted(place) for place in places if place]
    name = f"main{suffix}"
    files: dict[str, str | bytes] = {name: page.text}
    extended = len(change.keys) > 1 and rng.random() < 0.2
    if extended:
        name = f"base{suffix}"
        files = {
            name: page.text,
            "main.yaml": f"extends: {name}\ndescription: starts from another one\n",
        }
    main = "main.yaml" if extended else name
    emptied = change.keys[-1] == "type" and not at(
        change.data, change.keys[:-1]
    )  # "is empty" says enough
    word = str(change.keys[-1]) if change.kind == "deletion" and not emptied else ""
    return Mutant(
        change.kind, files, main, name, tuple(sorted(lines)), tuple(paths), change.meant, word=word
    )


def doubles(data: dict[str, Any], rng: Random) -> Iterator[Mutant]:
    for suffix in (".json", ".yaml"):
        page = render(data, suffix, rng.random() < 0.5)
        for keys, line in page.lines.items():
            if isinstance(keys[-1], str) and own_line(page, keys):
                name = f"main{suffix}"
                yield Mutant(
                    "double key",
                    {name: double_line(page, keys)},
                    name,
                    name,
                    (line + 1,),
                    (dotted(keys),),
                )


def overrides(data: dict[str, Any], rng: Random) -> Iterator[Mutant]:
    files: dict[str, str | bytes] = {"main.json": render(data, ".json", True).text}

    def said(kind: str, change: Change, word: str) -> Mutant:
        paths = tuple(dotted(place) for place in (change.keys, *change.also))
        return Mutant(
            kind, files, "main.json", word.partition("=")[0] + "=", (), paths, change.meant, (word,)
        )

    for change in (*key_typos(data, rng), *name_typos(data, rng)):
        word = dotted(change.keys)
        yield said("override typo", change, f"{word}={json.dumps(change.value)}")
        if change.kind == "key typo" and rng.random() < 0.1:
            yield Mutant(
                "override typo", files, "main.json", f"~{word}", (), (), change.meant, (f"~{word}",)
            )
    texts = {
        keys for keys, parameter in arguments(data) if str in (kinds(parameter.annotation) or {str})
    }
    for change in wrong_types(
        data, rng
    ):  # what looks like a number is a text where a text is wanted
        if change.keys not in texts and change.keys[-1] not in ("name", "description", "type"):
            yield said("override type", change, f"{dotted(change.keys)}={json.dumps(change.value)}")


def damages(rng: Random) -> Iterator[Mutant]:
    """The shipped files' own text, in which a sign is missing or too much."""
    for name, text in shipped_texts().items():
        is_json = name.endswith(".json")
        lines = text.splitlines()
        for number, line in enumerate(lines, start=1):
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            for damaged, until_end in _damaged_lines(line, is_json, rng):
                whole = "\n".join([*lines[: number - 1], *damaged, *lines[number:]]) + "\n"
                if not _is_broken(whole, is_json):
                    continue
                # A missing sign shows where the next thing stands; a missing quote or bracket perhaps at the end.
                after = [
                    later
                    for later, rest in enumerate(lines, start=1)
                    if later > number and rest.strip()
                ]
                last = (
                    len(lines) + 2 if until_end else (after or [number + 1])[0] + len(damaged) - 1
                )
                main = f"main.{name.rpartition('.')[2]}"
                yield Mutant("syntax", {main: whole}, main, main, tuple(range(number, last + 1)))


def _damaged_lines(line: str, is_json: bool, rng: Random) -> Iterator[tuple[list[str], bool]]:
    signs = [place for place, sign in enumerate(line) if sign in '{}[],:"']
    for place in rng.sample(signs, min(4, len(signs))):
        until_end = line[place] in "{}[]" or (not is_json and line[place] == '"')
        yield [line[:place] + line[place + 1 :]], until_end
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


def bad_paths(data: dict[str, Any], rng: Random) -> Iterator[Mutant]:
    for suffix in (".json", ".yaml"):
        good, main = f"good{suffix}", f"main{suffix}"
        sound = render(data, suffix, True).text

        def extending(target: Any, suffix: str = suffix, also: str = "") -> Page:
            return render({"name": "x", "extends": target, "seed": 1}, suffix, False)

        for target in (
            "nosuch.json",
            main,
            ".",
            "../..",
            5,
            [good, "nosuch.yaml"],
            f"{good}x",
            good[1:],
        ):
            page = extending(target)
            meant = (good,) if target in (f"{good}x", good[1:]) else ()
            files: dict[str, str | bytes] = {main: page.text, good: sound}
            lines, paths = (page.lines[("extends",)],), ("extends", "extends.1")
            yield Mutant("bad path", files, main, main, lines, paths, meant)
        other = f"other{suffix}"
        circle: dict[str, str | bytes] = {main: extending(other).text, other: extending(main).text}
        yield Mutant(
            "bad path", circle, main, other, (extending(main).lines[("extends",)],), ("extends",)
        )
        for content in (
            "",
            "# nothing\n" if suffix == ".yaml" else " \n",
            "[1, 2]",
            b"\xff\xfe\x00x",
            "5",
        ):
            yield Mutant("bad path", {main: content}, main, main)
        yield Mutant("bad path", {}, main, main)
        yield Mutant("bad path", {}, f"config/{main}", f"config/{main}")
        folder = {"main/x": ""}
        yield Mutant("bad path", dict(folder), "main", "main")
        save_dir = ("trainer", "save_dir")
        blocked = render(
            data | {"trainer": data["trainer"] | {"save_dir": f"{main}/runs"}}, suffix, True
        )
        lines, paths = (blocked.lines[save_dir],), (dotted(save_dir),)
        yield Mutant("bad path", {main: blocked.text}, main, main, lines, paths)
