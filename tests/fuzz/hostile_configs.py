"""Configs of a stranger who wants more than to train a model."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

from tests.fuzz.hostile_names import (
    BIDI,
    CLEAR,
    ESC,
    FOLDERS,
    JSON,
    REST,
    TYPES,
    Case,
    case,
    everywhere,
    places,
    small,
)
from tests.fuzz.hostile_places import characters, files, links, other_parts, overrides
from tests.fuzz.hostile_sandbox import CANARY, PAYLOAD


def cases() -> list[Case]:
    groups = (
        types,
        names,
        tags,
        bombs,
        numbers,
        bases,
        files,
        characters,
        links,
        overrides,
        other_parts,
    )
    return [one for group in groups for one in group()]


def types() -> Iterator[Case]:
    for what, name in TYPES.items():
        yield case(f"type: {what}", everywhere(name), tells=tuple(places()))


def names() -> Iterator[Case]:
    for what, name in FOLDERS.items():
        yield case(f"name: {what}", small(name=name), tells=("name: ",))
        yield case(f"run id: {what}", small(), run_id=name, tells=("--run-id",))


def tags() -> Iterator[Case]:
    command = f"[{PAYLOAD}]"
    for tag in (
        f"!!python/object/apply:os.system {command}",
        f"!!python/object/apply:subprocess.Popen [[touch, {CANARY}]]",
        f'!!python/object/apply:builtins.eval [\'open("{CANARY}", "w")\']',
        f"!!python/object/new:os.system {command}",
        "!!python/name:os.system ''",
        "!!python/module:os ''",
        "!!python/object:config.parser.ConfigParser {tree: 1}",
        "!!python/tuple [1]",
        "!!binary Y29uZmln",
        "!!set {a, b}",
        "!!omap [a: 1]",
        "!!timestamp 2020-01-01",
        "!include /etc/passwd",
        "!ENV ${HOME}",
        f"!{ESC}x 1",
        "!<tag:example.com,2000:x> 1",
    ):
        yield case(f"tag: {tag[:40]!r}", f"{{mine: {tag}, {REST}")
    yield case("tag: on a key", f"{{? !!python/object/apply:os.system {command} : 1, {REST}")
    yield case(
        "tag: declared",
        f"%TAG !py! tag:yaml.org,2002:python/\n---\n{{mine: !py!name:os.system '', {REST}",
    )
    yield case("tag: two documents", f"{JSON}\n---\n!!python/object/apply:os.system {command}\n")


def bombs() -> Iterator[Case]:
    laughs = "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12))
    yield case("bomb: a billion laughs", f"a0: &a0 [ha, ha]\n{laughs}")
    chain = "".join(f"m{i}: &m{i} {{x: *m{i - 1}, y: *m{i - 1}}}\n" for i in range(1, 60))
    yield case("bomb: of mappings", f"m0: &m0 {{x: 1}}\n{chain}")
    merges = "".join(
        f"m{i}: &m{i}\n  <<: [*m{i - 1}, *m{i - 1}]\n  k{i}: 0\n" for i in range(1, 60)
    )
    yield case("bomb: of <<", f"m0: &m0 {{x: 1}}\n{merges}")
    keys = "".join(f"  a{i}: 0\n" for i in range(10_000))
    yield case(
        "bomb: << of much and much of nothing",
        f"m: &m\n{keys}e: &e {{}}\nx: {{<<: [{'*e, ' * 50_000}*m]}}\n",
    )
    yield case("bomb: an alias inside itself", f"{{x: &x [*x], {REST}")
    twice = {f"b{i}": [f"${{b{i + 1}}}"] * 2 for i in range(60)}
    yield case("bomb: of ${}", small(**twice, b60=[1, 2]))
    long = {f"s{i}": f"${{s{i + 1}}}${{s{i + 1}}}" for i in range(60)}
    yield case("bomb: of text in ${}", small(**long, s60="text"))
    texts = f"{{big: '{'a' * 90_000}', x: [&x '-${{big}}'{', *x' * 80_000}], {REST}"
    yield case("bomb: many long texts", texts, slow=True)
    yield case("bomb: a circle of ${}", small(a="${b}", b="${a}"), tells=("circle",))
    yield case("bomb: ${} of itself", small(a="${a}"), tells=("circle",))
    yield case("bomb: ${} of what holds it", small(a={"b": {"c": "${a}"}}), tells=("circle",))
    yield case(
        "bomb: a long chain of ${}",
        small(**{f"c{i}": f"${{c{i + 1}}}" for i in range(3000)}, c3000=1),
    )
    for depth in (100, 10_000, 100_000):
        yield case(
            f"depth {depth:,}: JSON lists", f'{{"x": {"[" * depth}{"]" * depth}, {REST}', ".json"
        )
        yield case(f"depth {depth:,}: flow lists", f"{{x: {'[' * depth}{']' * depth}, {REST}")
        yield case(f"depth {depth:,}: block lists", f"x:\n {'- ' * depth}1\n")
    open_key = '{"a": '
    yield case("depth: JSON mappings", f"{open_key * 10_000}1{'}' * 10_000}", ".json")
    yield case("depth: flow mappings", f"{{x: {'{a: ' * 10_000}1{'}' * 10_000}, {REST}")
    yield case("depth: block mappings", "".join(" " * i + "a:\n" for i in range(900)))
    yield case("depth: keys that are keys", "? " * 10_000 + "x")
    yield case("depth: an anchor a level", "".join(f"{'  ' * i}a: &a{i}\n" for i in range(400)))
    yield case("size: 10 MB", json.dumps(small(mine="x" * 10_000_000)))
    yield case("size: a key of 10 MB", {"x" * 10_000_000: 1})
    yield case("size: a key of 400 kB", f"{{? {'x' * 400_000} : 1, {REST}", slow=True, passes=True)
    trainer = f"{{? {'x' * 400_000} : 1, {json.dumps(small()['trainer'])[1:]}"
    yield case("size: an option of 400 kB", f"{{trainer: {trainer}, name: x}}", slow=True)
    yield case("size: 240,000 values", f"{{x: [{'0,' * 240_000}0], {REST}", slow=True)
    yield case(
        "size: 3,000 metrics that do not exist",
        small(metrics=[f"a{i}" for i in range(3000)]),
        slow=True,
    )
    yield case(
        "size: 30,000 options that do not exist",
        {"trainer": {f"o{i}": 1 for i in range(30_000)}},
        slow=True,
    )
    much = f"extends: base.json\n{''.join(f'k{i}: 0{chr(10)}' for i in range(30_000))}arch: 1\n"
    yield Case("size: 30,000 keys over a base", {"main.yaml": much, "base.json": JSON}, slow=True)


def numbers() -> Iterator[Case]:
    """Numbers of more digits than Python prints, or than fit where they stand."""
    places = {"seed": REST, "n_gpu": REST.replace('"n_gpu": 0, ', ""), "mine": REST}
    places |= {"name": REST.replace('"name": "hostile", ', "")}
    for what, value in {
        "5,000 digits": "9" * 5000,
        "400,000 digits": "9" * 400_000,
        "hex": "0x" + "F" * 5000,
    }.items():
        for key, rest in places.items():
            yield case(
                f"number: of {what} as {key}", f"{{{key}: {value}, {rest}", passes=key == "mine"
            )
        for key, old in {"batch_size": 512, "lr": 0.01, "width": 2, "epochs": 1}.items():
            text = JSON.replace(f'"{key}": {old}', f'"{key}": {value}')
            yield case(f"number: of {what} as {key}", text, passes=key != "epochs")
    for key, old, value in (
        ("batch_size", 512, 10**30),
        ("lr", 0.01, 10**400),
        ("width", 2, 10**15),
    ):
        text = JSON.replace(f'"{key}": {old}', f'"{key}": {value}')
        yield case(f"number: a large {key}", text, ".json", passes=True)
    yield case(
        "number: 1e999999999", JSON.replace("0.01", "1e999999999"), ".json", tells=("too large",)
    )
    yield case("number: NaN", JSON.replace("0.01", "NaN"), ".json", tells=("NaN",))
    yield case(
        "number: minus infinity", JSON.replace("0.01", "-Infinity"), ".json", tells=("Infinity",)
    )


def bases() -> Iterator[Case]:
    for what, path in {
        "/etc/passwd": "/etc/passwd",
        "a folder": ".",
        "the root": "/",
        "an endless device": "/dev/zero",
        "the null device": "/dev/null",
        "standard input": "/dev/stdin",
        "a terminal": "/dev/tty",
        "the memory": "/proc/self/mem",
        "a file without a size": "/proc/self/pagemap",
        "the environment": "/proc/self/environ",
        "a NUL": "base\0.json",
        "nothing": "",
        "100,000 characters": "x" * 100_000,
        "control characters": f"{CLEAR}.json",
        "a right-to-left override": f"{BIDI}nosj.json",
        "an address": "https://example.com/config.json",
        "a Windows path": "C:\\config.json",
        "a share": "\\\\server\\share\\config.json",
        "a number": 5,
        "a mapping": {"file": "base.json"},
        "lists of lists": [["base.json"]],
    }.items():
        yield case(f"extends: {what}", small(extends=path), passes=what == "standard input")
    yield case("extends: itself", small(extends="main.json"), tells=("circle",))
    yield case(
        "extends: itself by another path", small(extends="../here/./main.json"), tells=("circle",)
    )
    yield case(
        "extends: 10,000 files", small(extends=["base.json"] * 10_000) | {"x": 0}, prepare=base
    )
    yield case(
        "extends: 10,000 files that are not there",
        small(extends=[f"{i}.json" for i in range(10_000)]),
    )
    chain = {f"f{i}.json": json.dumps({"extends": f"f{i + 1}.json"}) for i in range(300)}
    yield Case(
        "extends: a chain of 300",
        {"main.json": json.dumps({"extends": "f0.json"}), **chain, "f300.json": JSON},
    )
    tree = {f"f{i}.json": json.dumps({"extends": [f"f{i + 1}.json"] * 2}) for i in range(40)}
    yield Case(
        "extends: two of two of two",
        {"main.json": json.dumps({"extends": "f0.json"}), **tree, "f40.json": JSON},
    )
    yield case(
        "extends: a FIFO", small(extends="fifo"), prepare=lambda here: os.mkfifo(here / "fifo")
    )
    yield case(
        "extends: a ring of links",
        small(extends="ring"),
        prepare=lambda here: (here / "ring").symlink_to("ring"),
    )
    zero = small(extends="zero.json")
    yield case(
        "extends: a link to a device",
        zero,
        prepare=lambda here: (here / "zero.json").symlink_to("/dev/zero"),
    )
    evil = {
        "main.json": json.dumps({"extends": "a.json"}),
        "a.json": json.dumps(everywhere("os.system")),
    }
    yield Case("extends: a base that is hostile", evil, tells=("a.json:1:", *places()))


def base(here: Path) -> None:
    (here / "base.json").write_text(JSON)
