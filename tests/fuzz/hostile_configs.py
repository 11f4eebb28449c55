"""All hostile configs: those of a stranger who wants to do more than train a model."""

from __future__ import annotations

from collections.abc import Iterator

from tests.fuzz.hostile_bases import bases, chains, invalid_bases, special_files
from tests.fuzz.hostile_components import data, models, second_optimizers, settings
from tests.fuzz.hostile_files import files, keys, letters, links, overrides, save_dirs
from tests.fuzz.hostile_names import (
    ESC,
    FOLDERS,
    JSON,
    REST,
    TYPES,
    Case,
    fill_slots,
    list_type_keys,
    make_case,
    make_config,
)
from tests.fuzz.hostile_sandbox import CANARY, PAYLOAD
from tests.fuzz.hostile_sizes import aliases, depths, references, sizes


def make_cases() -> list[Case]:
    groups = (
        types,
        names,
        tags,
        aliases,
        references,
        depths,
        sizes,
        numbers,
        bases,
        chains,
        special_files,
        invalid_bases,
        files,
        letters,
        keys,
        links,
        save_dirs,
        overrides,
        second_optimizers,
        data,
        models,
        settings,
    )
    return [case for group in groups for case in group()]


def types() -> Iterator[Case]:
    for what, name in TYPES.items():
        yield make_case(f"type: {what}", fill_slots(name), expected=tuple(list_type_keys()))


def names() -> Iterator[Case]:
    for what, name in FOLDERS.items():
        yield make_case(f"name: {what}", make_config(name=name), expected=("name: ",))
        yield make_case(f"run id: {what}", make_config(), run_id=name, expected=("--run-id",))


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
        yield make_case(f"tag: {tag[:40]!r}", f"{{mine: {tag}, {REST}")
    yield make_case("tag: on a key", f"{{? !!python/object/apply:os.system {command} : 1, {REST}")
    yield make_case(
        "tag: declared",
        f"%TAG !py! tag:yaml.org,2002:python/\n---\n{{mine: !py!name:os.system '', {REST}",
    )
    yield make_case(
        "tag: two documents", f"{JSON}\n---\n!!python/object/apply:os.system {command}\n"
    )


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
            yield make_case(
                f"number: of {what} as {key}", f"{{{key}: {value}, {rest}", may_pass=key == "mine"
            )
        for key, old in {"batch_size": 512, "lr": 0.01, "width": 2, "epochs": 1}.items():
            text = JSON.replace(f'"{key}": {old}', f'"{key}": {value}')
            yield make_case(f"number: of {what} as {key}", text, may_pass=key != "epochs")
    for key, old, value in (
        ("batch_size", 512, 10**30),
        ("lr", 0.01, 10**400),
        ("width", 2, 10**15),
    ):
        text = JSON.replace(f'"{key}": {old}', f'"{key}": {value}')
        yield make_case(f"number: a large {key}", text, ".json", may_pass=True)
    yield make_case(
        "number: 1e999999999", JSON.replace("0.01", "1e999999999"), ".json", expected=("too large",)
    )
    yield make_case("number: NaN", JSON.replace("0.01", "NaN"), ".json", expected=("NaN",))
    yield make_case(
        "number: minus infinity", JSON.replace("0.01", "-Infinity"), ".json", expected=("Infinity",)
    )
