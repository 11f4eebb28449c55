"""Looks at configs: ``python -m config show|explain KEY|diff A B|schema``; see ``--help``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from config.check.preflight import class_named, examine
from config.parser import ConfigParser
from config.read.source import Keys, dotted
from config.read.text import flatten, to_text
from utils.errors import UserError, did_you_mean
from utils.main import run_main
from utils.tables import BOLD, paint, print_table

COMMANDS = {
    "show": "the resolved config, as YAML",
    "explain": "where the value of KEY comes from, and what takes it",
    "diff": "the values that two configs or runs do not share; of one config, what the overrides change",
    "schema": "writes config/schema.json, for editors",
}


def short(value: Any) -> str:
    """``written``, cut to fit a column."""
    text = to_text(value)
    return text if len(text) <= 48 else text[:47] + "…"


def show(value: Any, depth: int = 0) -> list[str]:
    """The lines of a config as YAML, which ``-c`` takes again."""
    lines = []
    for key, item in value.items():
        name = "  " * depth + paint(to_text(key), BOLD) + ":"
        if isinstance(item, dict) and item:
            lines += [name, *show(item, depth + 1)]
        elif isinstance(item, list) and any(isinstance(part, dict) for part in item):
            lines += [name, *("  " * (depth + 1) + f"- {to_text(part)}" for part in item)]
        else:
            lines.append(f"{name} {to_text(item)}")
    return lines


def explain(config: ConfigParser, key: str) -> None:
    """Prints where the value of ``key``, and every value inside it, comes from, and what takes it."""
    tree, known = config.tree, examine(config.tree).taken
    wanted: Keys = tuple(int(part) if part.isdecimal() else part for part in key.split("."))
    given = flatten(tree.data)
    defaults = {
        keys: parameter.default for keys, (_, parameter) in known.items() if keys not in given
    }
    values = given | {
        keys: value
        for keys, value in defaults.items()
        if not any(k[: len(keys)] == keys for k in given)
    }
    rows = [("key", "value", "from", "taken by")]
    for keys, value in values.items():
        is_item = (
            keys == wanted[:-1] and isinstance(value, list) and wanted[-1] in range(len(value))
        )
        if keys[: len(wanted)] != wanted and not is_item:
            continue
        taker, parameter = known.get(keys, ("", None))
        where = str(tree.mark(keys) or "the program") if keys in given else "default"
        missing = parameter is not None and value is parameter.empty
        was = [f"(was {to_text(old)} in {mark})" for mark, old in tree.replaced.get(keys, [])]
        shown, by = (
            "(missing)" if missing else short(value),
            f"{taker}({parameter})" if taker else "",
        )
        rows.append((dotted(keys), shown, " ".join([where, *was]), by))
    if len(rows) == 1:
        raise UserError(
            f"{key}: the config has no such key{did_you_mean(key, map(dotted, values))}"
        )
    print_table(rows)
    if wanted[0] == "transfer":
        print("\n".join(phases(config)))


def phases(config: ConfigParser) -> list[str]:
    """What the ``transfer`` section trains from which epoch on, of a model without memory or weights."""
    import torch

    args = config["arch"].get("args") or {}
    args.update(
        {key: value for key, value in (("weights", None), ("pretrained", False)) if key in args}
    )
    with torch.device("meta"), config.places():
        lines: list[str] = class_named(("base.transfer.transfer", "describe_phases"))(
            config.build("arch"), config.options("transfer")
        )
    return lines


def differ(one: dict[str, Any], other: dict[str, Any], names: tuple[str, str]) -> None:
    """Prints the values that two configs do not share."""
    a, b = flatten(one), flatten(other)
    keys = [
        keys
        for keys in {**a, **b}
        if keys not in a or keys not in b or to_text(a[keys]) != to_text(b[keys])
    ]
    rows = [
        (dotted(k), short(a[k]) if k in a else "-", short(b[k]) if k in b else "-") for k in keys
    ]
    print_table([("key", *names), *rows]) if rows else print("They are the same.")


def read(args: argparse.Namespace, config: str | None, overrides: list[str]) -> ConfigParser:
    """The config in a file or, of a run, in its folder."""
    inside = Path(config or "", "config.json")
    args.config = str(inside) if config is not None and inside.is_file() else config
    args.overrides = overrides
    return ConfigParser.from_args(args)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m config",
        description="Looks at configs.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.epilog = "\n".join(f"{name:<8} {text}" for name, text in COMMANDS.items())
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument(
        "words", nargs="*", metavar="KEY | A B | KEY=VALUE", help="of explain, of diff, overrides"
    )
    parser.add_argument("-c", "--config", help="config file or run folder (default: config.json)")
    args = parser.parse_intermixed_args()
    args.resume = args.device = None
    overrides = [word for word in args.words if "=" in word or word.startswith("~")]
    words = [word for word in args.words if word not in overrides]
    n_words = {"explain": (1, 1), "diff": (0, 2)}.get(args.command, (0, 0))
    if not n_words[0] <= len(words) <= n_words[1]:
        parser.error(
            f"{args.command} takes {n_words[0]} to {n_words[1]} names beside -c and KEY=VALUE"
        )
    if args.command == "schema":
        from config.check.schema import write

        print(f"Written to {write()}")
        return
    if args.command == "diff":
        names = [*([args.config] if args.config else []), *words] or ["config.json"]
        if len(names) > 2:
            parser.error("diff compares two, -c's among them")
        one, other = read(args, names[0], []).plain(), read(args, names[-1], overrides).plain()
        differ(one, other, (names[0], names[-1] if len(names) > 1 else " ".join(overrides)))
        return
    config = read(args, args.config, overrides)
    if args.command == "show":
        print("\n".join(show(config.config)))
    else:
        explain(config, words[0])


if __name__ == "__main__":
    run_main(main)
