"""``python -m config show|explain KEY|diff A B|schema``: shows, explains and compares configs.

This is a program, as train.py is. It is the only file of config/ that imports base.
"""

from __future__ import annotations  # PYTHON_ARGCOMPLETE_OK

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from config.check.schema import Schema
from config.command_line import parse_args
from config.parser import ConfigParser
from config.read.references import escape_references
from config.read.text import compare_configs, to_text
from utils.main import run_main
from utils.options import SectionOptions
from utils.tables import BOLD, paint, print_table

COMMANDS = {
    "show": "the resolved config, as YAML",
    "explain": "what KEY means, its value and type, and where they come from; without KEY, all",
    "diff": "the values that differ between two configs or runs, or that the overrides change",
    "schema": "writes config/schema.json, for editors",
}
N_WORDS = {"explain": (0, 1), "diff": (0, 2)}  # minimum and maximum


def main() -> None:
    parser = make_parser()
    args = parse_args(parser)
    args.resume = args.device = None
    overrides = [word for word in args.words if "=" in word or word.startswith("~")]
    words = [word for word in args.words if word not in overrides]
    least, most = N_WORDS.get(args.command, (0, 0))
    if not least <= len(words) <= most:
        number = f"{least} to {most}" if least < most else str(least)
        parser.error(f"{args.command} takes {number} words besides -c and KEY=VALUE")
    if args.command == "schema":
        from config.check.json_schema import write

        print(f"Written to {write(load_schema())}")
    elif args.command == "diff":
        if args.config and len(words) > 1:
            parser.error("diff compares two configs, and all -c count as one")
        print_diff(args, words, overrides)
    elif args.command == "show":
        print("\n".join(to_yaml(escape_references(read(args, args.config, overrides).config))))
    else:
        explain(read(args, args.config, overrides), words[0] if words else None)


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m config",
        description="Shows, explains and compares configs.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="\n".join(f"{name:<8} {text}" for name, text in COMMANDS.items()),
    )
    parser.add_argument("command", choices=COMMANDS)
    help_text = "KEY is for explain, A and B for diff, KEY=VALUE overrides the config"
    parser.add_argument("words", nargs="*", metavar="KEY | A B | KEY=VALUE", help=help_text)
    help_text = "config file or run folder; a later -c wins (default: config.json)"
    parser.add_argument("-c", "--config", action="append", help=help_text)
    return parser


def load_schema() -> Schema:
    """Returns the framework's schema. Its import loads torch, which `show` and `diff` need not."""
    from base.schema import SCHEMA

    return SCHEMA


def read(
    args: argparse.Namespace, configs: Sequence[str] | None, overrides: list[str]
) -> ConfigParser:
    """Reads config files, or the configs in runs' folders. The values of later ones win."""
    in_folders = [Path(config, "config.json") for config in configs or ()]
    pairs = zip(configs or (), in_folders, strict=True)
    args.config = [str(path) if path.is_file() else config for config, path in pairs]
    args.overrides = overrides
    return ConfigParser.from_args(args)


def to_yaml(section: dict[str, Any], depth: int = 0) -> list[str]:
    """Returns the lines of a config as YAML, which ``-c`` takes again."""
    lines = []
    indent = "  " * depth
    for key, item in section.items():
        name = f"{indent}{paint(to_text(key), BOLD)}:"
        if isinstance(item, dict) and item:
            lines += [name, *to_yaml(item, depth + 1)]
        elif isinstance(item, list) and any(isinstance(entry, dict) for entry in item):
            lines += [name, *(f"{indent}  - {to_text(entry)}" for entry in item)]
        else:
            lines.append(f"{name} {to_text(item)}")
    return lines


def explain(config: ConfigParser, key: str | None) -> None:
    """Explains ``key`` and everything below it; None gives an overview of the sections."""
    from config.explain import print_explanation, print_overview

    schema = load_schema()
    if key is None:
        print_overview(config.tree, schema)
        return
    print_explanation(config.tree, schema, key)
    for line in explain_section(config, schema, key.partition(".")[0]):
        print(line)


def explain_section(config: ConfigParser, schema: Schema, name: str) -> list[str]:
    """Returns the lines that the options of a flat section add to its explanation."""
    kind = schema.sections.get(name)
    if kind is None or kind.explain is SectionOptions.explain or not config.get(name):
        return []
    config.schema = schema  # without a check: the rest of the config may be wrong
    with config.locating_errors():
        lines: list[str] = config.options(name).explain(config)
    return lines


def print_diff(args: argparse.Namespace, words: list[str], overrides: list[str]) -> None:
    """Prints the values that differ between two configs.

    One config is compared with its overrides. Several ``-c`` are one config; with neither another
    config nor overrides, the first of them is compared with all of them.
    """
    sides = [*([args.config] if args.config else []), *([word] for word in words)]
    sides = sides if sides else [["config.json"]]
    titles = [" + ".join(side) for side in sides]
    if len(sides) == 1:
        before = sides[0] if overrides else sides[0][:1]
        sides = [before, sides[0]]
        titles = [" + ".join(before), " ".join(overrides) if overrides else titles[0]]
    configs = [read(args, sides[0], []).plain(), read(args, sides[1], overrides).plain()]
    if rows := compare_configs(configs):
        print_table([("key", *titles), *rows])
    else:
        print("They are the same.")


if __name__ == "__main__":
    run_main(main)
