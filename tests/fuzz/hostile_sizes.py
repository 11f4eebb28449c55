"""Hostile configs that expand without end, are nested too deeply, or are very large."""

from __future__ import annotations

import json
from collections.abc import Iterator

from tests.fuzz.hostile_names import JSON, REST, Case, make_case, make_config


def aliases() -> Iterator[Case]:
    """YAML aliases and merges that multiply."""
    laughs = "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12))
    yield make_case("bomb: a billion laughs", f"a0: &a0 [ha, ha]\n{laughs}")
    chain = "".join(f"m{i}: &m{i} {{x: *m{i - 1}, y: *m{i - 1}}}\n" for i in range(1, 60))
    yield make_case("bomb: of mappings", f"m0: &m0 {{x: 1}}\n{chain}")
    merges = "".join(
        f"m{i}: &m{i}\n  <<: [*m{i - 1}, *m{i - 1}]\n  k{i}: 0\n" for i in range(1, 60)
    )
    yield make_case("bomb: of <<", f"m0: &m0 {{x: 1}}\n{merges}")
    keys = "".join(f"  a{i}: 0\n" for i in range(10_000))
    yield make_case(
        "bomb: << of much and much of nothing",
        f"m: &m\n{keys}e: &e {{}}\nx: {{<<: [{'*e, ' * 50_000}*m]}}\n",
    )
    yield make_case("bomb: an alias inside itself", f"{{x: &x [*x], {REST}")


def references() -> Iterator[Case]:
    """References to other values, as ``${a.b}``, that multiply or never end."""
    twice = {f"b{i}": [f"${{b{i + 1}}}"] * 2 for i in range(60)}
    yield make_case("bomb: of ${}", make_config(**twice, b60=[1, 2]))
    long = {f"s{i}": f"${{s{i + 1}}}${{s{i + 1}}}" for i in range(60)}
    yield make_case("bomb: of text in ${}", make_config(**long, s60="text"))
    texts = f"{{big: '{'a' * 90_000}', x: [&x '-${{big}}'{', *x' * 80_000}], {REST}"
    yield make_case("bomb: many long texts", texts, is_slow=True)
    yield make_case("bomb: a circle of ${}", make_config(a="${b}", b="${a}"), expected=("circle",))
    yield make_case("bomb: ${} of itself", make_config(a="${a}"), expected=("circle",))
    yield make_case(
        "bomb: ${} of what holds it", make_config(a={"b": {"c": "${a}"}}), expected=("circle",)
    )
    yield make_case(
        "bomb: a long chain of ${}",
        make_config(**{f"c{i}": f"${{c{i + 1}}}" for i in range(3000)}, c3000=1),
    )


def depths() -> Iterator[Case]:
    for depth in (100, 10_000, 100_000):
        yield make_case(
            f"depth {depth:,}: JSON lists", f'{{"x": {"[" * depth}{"]" * depth}, {REST}', ".json"
        )
        yield make_case(f"depth {depth:,}: flow lists", f"{{x: {'[' * depth}{']' * depth}, {REST}")
        yield make_case(f"depth {depth:,}: block lists", f"x:\n {'- ' * depth}1\n")
    open_key = '{"a": '
    yield make_case("depth: JSON mappings", f"{open_key * 10_000}1{'}' * 10_000}", ".json")
    yield make_case("depth: flow mappings", f"{{x: {'{a: ' * 10_000}1{'}' * 10_000}, {REST}")
    yield make_case("depth: block mappings", "".join(" " * i + "a:\n" for i in range(900)))
    yield make_case("depth: keys that are keys", "? " * 10_000 + "x")
    yield make_case(
        "depth: an anchor a level", "".join(f"{'  ' * i}a: &a{i}\n" for i in range(400))
    )


def sizes() -> Iterator[Case]:
    yield make_case("size: 10 MB", json.dumps(make_config(mine="x" * 10_000_000)))
    yield make_case("size: a key of 10 MB", {"x" * 10_000_000: 1})
    yield make_case(
        "size: a key of 400 kB", f"{{? {'x' * 400_000} : 1, {REST}", is_slow=True, may_pass=True
    )
    trainer = f"{{? {'x' * 400_000} : 1, {json.dumps(make_config()['trainer'])[1:]}"
    yield make_case("size: an option of 400 kB", f"{{trainer: {trainer}, name: x}}", is_slow=True)
    yield make_case("size: 240,000 values", f"{{x: [{'0,' * 240_000}0], {REST}", is_slow=True)
    yield make_case(
        "size: 3,000 metrics that do not exist",
        make_config(metrics=[f"a{i}" for i in range(3000)]),
        is_slow=True,
    )
    yield make_case(
        "size: 30,000 options that do not exist",
        {"trainer": {f"o{i}": 1 for i in range(30_000)}},
        is_slow=True,
    )
    much = f"extends: base.json\n{''.join(f'k{i}: 0{chr(10)}' for i in range(30_000))}arch: 1\n"
    yield Case(
        "size: 30,000 keys over a base", {"main.yaml": much, "base.json": JSON}, is_slow=True
    )
