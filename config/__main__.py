"""``python -m config show|explain KEY|diff A B|schema``: shows, explains and compares configs.

This is a program, as train.py is. It is the only file of config/ that imports base.
"""

from __future__ import annotations

import argparse
import inspect
from pathlib import Path
from typing import Any

from config.check.preflight import examine
from config.check.schema import Schema
from config.parser import ConfigParser
from config.read.references import escape_references
from config.read.text import compare_configs, flatten, to_cell, to_text
from config.read.tree import Keys, join_keys, split_keys
from utils.errors import UserError, did_you_mean
from utils.main import run_main
from utils.options import SectionOptions
from utils.tables import BOLD, paint, print_table

COMMANDS = {
    "show": "the resolved config, as YAML",
    "explain": "where the value of KEY comes from, and which class or function takes it",
    "diff": "the values that differ between two configs or runs, or that the overrides change",
    "schema": "writes config/schema.json, for editors",
}
N_WORDS = {"explain": (1, 1), "diff": (0, 2)}  # minimum and maximum


def main() -> None:
    parser = make_parser()
    args = parser.parse_intermixed_args()
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
        names = [*([args.config] if args.config else []), *words]
        if len(names) > 2:
            parser.error("diff compares two configs, and -c counts as one")
        print_diff(args, names if names else ["config.json"], overrides)
    elif args.command == "show":
        print("\n".join(to_yaml(escape_references(read(args, args.config, overrides).config))))
    else:
        print_explanation(read(args, args.config, overrides), words[0])


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
    help_text = "config file or run folder (default: config.json)"
    parser.add_argument("-c", "--config", help=help_text)
    return parser


def load_schema() -> Schema:
    """Returns the framework's schema. Its import loads torch, which `show` and `diff` need not."""
    from base.schema import SCHEMA

    return SCHEMA


def read(args: argparse.Namespace, config: str | None, overrides: list[str]) -> ConfigParser:
    """Reads a config file, or the config in a run's folder."""
    in_folder = Path(config, "config.json") if config is not None else None
    if in_folder is not None and in_folder.is_file():
        config = str(in_folder)
    args.config = config
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


def print_explanation(config: ConfigParser, key: str) -> None:
    """Prints the origin of ``key`` and of every value below it, and the parameter that takes it."""
    tree = config.tree
    schema = load_schema()
    takers = examine(tree, schema).takers
    wanted = split_keys(key) if key else ("",)
    written = flatten(tree.data)
    values = dict(written)
    for keys, (_, parameter) in takers.items():
        if not any(other[: len(keys)] == keys for other in written):
            values[keys] = parameter.default
    rows = [("key", "value", "from", "taken by")]
    for keys, value in values.items():
        if not _is_below(keys, value, wanted):
            continue
        source = str(tree.mark(keys) or "the program") if keys in written else "default"
        history = [f"(was {to_text(old)} in {mark})" for mark, old in tree.replaced.get(keys, [])]
        missing = "(that of the run)" if keys[-1] in _list_filled(schema, keys) else "(missing)"
        shown = missing if value is inspect.Parameter.empty else to_cell(value)
        taken_by = ""
        if keys in takers:
            owner, parameter = takers[keys]
            taken_by = f"{owner}({parameter})"
        rows.append((join_keys(keys), shown, " ".join([source, *history]), taken_by))
    if len(rows) == 1:
        hint = did_you_mean(key, map(join_keys, values))
        raise UserError(f"the config has no such key{hint}", key=key)
    print_table(rows)
    for line in explain_section(config, schema, str(wanted[0])):
        print(line)


def _list_filled(schema: Schema, keys: Keys) -> tuple[str, ...]:
    """Lists the parameters that the program gives a value in a section of the config."""
    slot = schema.slots.get(str(keys[0]))
    return () if slot is None else slot.filled_parameters


def _is_below(keys: Keys, value: Any, wanted: Keys) -> bool:
    """Whether ``keys`` lead to the wanted value, to one inside it, or to the list that holds it."""
    if keys[: len(wanted)] == wanted:
        return True
    is_list = keys == wanted[:-1] and isinstance(value, list)
    return is_list and wanted[-1] in range(len(value))


def explain_section(config: ConfigParser, schema: Schema, name: str) -> list[str]:
    """Returns the lines that the options of a flat section add to its explanation."""
    kind = schema.sections.get(name)
    if kind is None or kind.explain is SectionOptions.explain:
        return []
    config.schema = schema  # without a check: the rest of the config may be wrong
    with config.locating_errors():
        lines: list[str] = config.options(name).explain(config)
    return lines


def print_diff(args: argparse.Namespace, names: list[str], overrides: list[str]) -> None:
    """Prints the values that differ between two configs, or before and after the overrides."""
    configs = [read(args, names[0], []).plain(), read(args, names[-1], overrides).plain()]
    rows = compare_configs(configs)
    if rows:
        print_table(
            [("key", names[0], names[-1] if len(names) > 1 else " ".join(overrides)), *rows]
        )
    else:
        print("They are the same.")


if __name__ == "__main__":
    run_main(main)
