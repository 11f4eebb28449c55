"""Looks at configs: ``python -m config show|explain KEY|diff A B|schema``; see ``--help``."""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

from utils.errors import UserError, nearest
from utils.main import run_main

from .build import is_node
from .command_line import read_command_line
from .parser import ConfigParser, plain
from .preflight import own_options, trainer_options, trainer_parameters
from .slots import SLOTS, Signature, Slot, inner_slot, resolve
from .source import Keys, Tree, dotted

BOLD, FAINT = "1", "2"


def paint(text: str, colour: str) -> str:
    """``text`` in an ANSI colour, on a terminal."""
    return f"\x1b[{colour}m{text}\x1b[0m" if sys.stdout.isatty() and text else text


def written(value: Any) -> str:
    """A value as one writes it in a config, on one line."""
    text = json.dumps(plain(value), ensure_ascii=False)
    return "".join(char if char.isprintable() else f"\\u{ord(char):04x}" for char in text)


def table(rows: list[tuple[str, str, str]]) -> None:
    """Prints keys, values and remarks in columns."""
    widths = [min(max((len(row[column]) for row in rows), default=0), 60) for column in (0, 1)]
    for key, value, remark in rows:
        line = f"{paint(f'{key:<{widths[0]}}', BOLD)}  {value:<{widths[1]}}  {paint(remark, FAINT)}"
        print(line.rstrip())


def show(value: Any, depth: int = 0) -> list[str]:
    """The lines of a config as YAML, which ``-c`` takes again."""
    lines = []
    for key, item in value.items():
        name = "  " * depth + paint(key if re.fullmatch(r"[A-Za-z_][\w.-]*", key) else json.dumps(key), BOLD) + ":"
        if isinstance(item, dict) and item:
            lines += [name, *show(item, depth + 1)]
        elif isinstance(item, list) and any(isinstance(part, dict) for part in item):
            lines += [name, *("  " * (depth + 1) + f"- {written(part)}" for part in item)]
        else:
            lines.append(f"{name} {written(item)}")
    return lines


def flat(value: Any, keys: Keys = ()) -> dict[Keys, Any]:
    """Every value that is no section, under its key path."""
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    if not members or (isinstance(value, list) and not any(isinstance(item, dict | list) for item in value)):
        return {keys: value}
    return {path: item for key, part in members for path, item in flat(part, (*keys, key)).items()}


def takers(tree: Tree) -> dict[Keys, tuple[str, Any]]:
    """For every argument of every part: what takes it, and the parameter."""
    found: dict[Keys, tuple[str, Any]] = {}

    def part(node: Any, slot: Slot, keys: Keys) -> None:
        if isinstance(node, str) and slot.callback:
            node = {"type": node}
        if not is_node(node) and not (isinstance(node, dict) and "type" in node):
            return
        try:
            kind = resolve(node["type"], slot)
        except UserError:
            return  # preflight's to tell
        args = node.get("args") or {}
        given = 0 if slot.callback and isinstance(kind, type) else len(slot.given)
        name = f"{kind.__module__}.{kind.__qualname__}"
        for key, parameter in Signature.of(kind, given).parameters.items():
            found[(*keys, "args", key)] = (name, parameter)
        for key, value in args.items():
            items = enumerate(value) if isinstance(value, list) else [(None, value)]
            for index, item in items:
                place = (*keys, "args", key, *(() if index is None else (index,)))
                part(item, inner_slot(key, slot), place)
                for deeper, inner in enumerate(item if isinstance(item, list) else ()):
                    part(inner, inner_slot(key, slot), (*place, deeper))

    for key, slot in SLOTS.items():
        nodes = tree.data.get(key)
        for index, node in enumerate(nodes if isinstance(nodes, list) else ()):
            part(node, slot, (key, index))
        if key != "trainer":
            part(nodes, slot, (key,))
    section = tree.data.get("trainer") or {}
    kind, signature = trainer_parameters(section, SLOTS["trainer"])
    for key, parameter in trainer_options().items():
        found[("trainer", key)] = ("base.options.TrainerOptions", parameter)
    for key, parameter in own_options(signature).items():
        found[("trainer", key)] = (f"{kind.__module__}.{kind.__qualname__}", parameter)
    return found


def explain(config: ConfigParser, key: str) -> None:
    """Prints where the value of ``key``, and every value inside it, comes from, and what takes it."""
    tree, known = config.tree, takers(config.tree)
    wanted: Keys = tuple(int(part) if part.isdecimal() else part for part in key.split("."))
    given = flat(tree.data)
    defaults = {keys: parameter.default for keys, (_, parameter) in known.items() if keys not in given}
    values = given | {keys: value for keys, value in defaults.items() if not any(k[: len(keys)] == keys for k in given)}
    rows = []
    for keys, value in values.items():
        if keys[: len(wanted)] != wanted:
            continue
        taker, parameter = known.get(keys, ("", None))
        where = str(tree.mark(keys) or "the program") if keys in given else "default"
        missing = parameter is not None and value is parameter.empty
        was = [f"was {written(old)} in {mark}" for mark, old in tree.replaced.get(keys, [])]
        by = f"-> {taker}({parameter})" if taker else ""
        rows.append((dotted(keys), "(none)" if missing else written(value), "  ".join([where, *was, by]).rstrip()))
    if not rows:
        raise UserError(f"{key}: the config has no such key{nearest(key, map(dotted, values))}")
    table(rows)


def differ(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Prints the values that two configs do not share."""
    a, b = flat(one), flat(other)
    keys = [keys for keys in {**a, **b} if a.get(keys, ...) != b.get(keys, ...)]
    rows = [(dotted(k), written(a[k]) if k in a else "-", written(b[k]) if k in b else "-") for k in keys]
    table(rows) if rows else print("They are the same.")


def read(args: argparse.Namespace, config: str | None, overrides: list[str]) -> ConfigParser:
    """The config in a file or, of a run, in its folder."""
    inside = Path(config or "", "config.json")
    args.config = str(inside) if config is not None and inside.is_file() else config
    args.overrides = overrides
    words = read_command_line(args, [])
    return ConfigParser(words.tree, words.resume)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m config", description="Looks at configs.")
    commands = parser.add_subparsers(dest="command", required=True)
    about = {
        "show": "the resolved config, as YAML",
        "explain": "where a value comes from, and what takes it",
        "diff": "the values that two configs or runs do not share; of one, what its overrides change",
        "schema": "write config/schema.json, for editors",
    }
    for name, text in about.items():
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("-c", "--config", help="config file or run folder (default: config.json)")
        command.add_argument("words", nargs="*", metavar="KEY | A B | KEY=VALUE")
    args = parser.parse_intermixed_args() if False else parser.parse_args()
    args.resume = args.device = None
    overrides = [word for word in args.words if "=" in word or word.startswith("~")]
    words = [word for word in args.words if word not in overrides]
    n_words = {"explain": (1, 1), "diff": (0, 2)}.get(args.command, (0, 0))
    if not n_words[0] <= len(words) <= n_words[1]:
        parser.error(f"{args.command} takes {n_words[0]} to {n_words[1]} names beside -c and KEY=VALUE")
    if args.command == "diff":
        names = [*([args.config] if args.config else []), *words] or ["config.json"]
        differ(read(args, names[0], []).plain(), read(args, names[-1], overrides).plain())
        return
    config = read(args, args.config, overrides)
    if args.command == "show":
        print("\n".join(show(config.plain())))
    elif args.command == "explain":
        explain(config, words[0])
    else:
        from .schema import write

        print(f"Written to {write()}")


if __name__ == "__main__":
    run_main(main)
