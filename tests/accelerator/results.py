"""The results of ``run.sh`` as text, and in the table of this folder's README.

``python -m tests.accelerator.results FILE.json`` updates the table.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from tests.accelerator.order import FILES

FOLDER = Path(__file__).parent
NEVER = "not run on a device"
BENCHMARKS = "benchmarks"
ROW = re.compile(r"^\| ([^|]+) \| (no|cpu|simulated|cpu, simulated) \| ([^|]+) \|$", re.M)

Found = dict[str, Any]  # the content of results.json


def to_text(found: Found) -> str:
    """The results for a reader: machine, a row for each test, tracebacks, benchmarks, table."""
    results = found["tests"]
    counts = {result["outcome"]: 0 for result in results}
    for result in results:
        counts[result["outcome"]] += 1
    lines = [f"{key}: {value}" for key, value in found["machine"].items()]
    if found["install"]["missing"]:
        status = "installed" if found["install"]["status"] == 0 else "NOT installed"
        lines.append(f"missing packages, {status}: {', '.join(found['install']['missing'])}")
    lines += ["", ", ".join(f"{count} {name}" for name, count in counts.items()), ""]
    lines += map(to_line, results)
    for result in results:
        if result["outcome"] == "failed":
            lines += ["", f"==== {short_name(result)}", result["text"]]
    for note in found["notes"]:
        lines += ["", "==== a process of the tests", note]
    bench = found["benchmarks"]
    if bench is not None:
        lines += ["", f"==== benchmarks: status {bench['status']}, {bench['seconds']} s"]
        lines.append(bench["output"])
    lines += ["", f"==== rows of tests/accelerator/README.md, {found['seconds']} s in all"]
    lines += make_rows((FOLDER / "README.md").read_text("utf-8"), found)
    return "\n".join(lines) + "\n"


def to_line(result: dict[str, Any]) -> str:
    seconds = "    ?" if result["seconds"] is None else f"{result['seconds']:5.1f}"
    reason = result["text"].splitlines()[0] if result["outcome"] == "skipped" else ""
    return f"{seconds} s  {result['outcome']:<8}{short_name(result)}  {reason}".rstrip()


def short_name(result: dict[str, Any]) -> str:
    return re.sub(r"^.*/test_accelerator_(\w+)\.py::test_", r"\1: ", result["name"])


def list_names() -> list[str]:
    """The tests of this folder in words, in their order, and the benchmarks."""
    names = []
    for file in FILES:
        text = (FOLDER / file).read_text("utf-8")
        names += re.findall(r"^def test_(\w+)", text, re.M)
    return [name.replace("_", " ") for name in names] + [BENCHMARKS]


def make_rows(readme: str, found: Found) -> list[str]:
    """The rows of the table: those of the README, with these results."""
    known = {name: (stand_in, seen) for name, stand_in, seen in ROW.findall(readme)}
    machine = found["machine"]
    run = f"{machine['device']} {machine['date'][:10]} {machine['commit']}"
    rows = []
    for name in list_names():
        stand_in, seen = known.get(name, ("no", NEVER))
        outcomes = list_outcomes(name, found)
        if machine["stand_in"]:
            kinds = set(stand_in.split(", ")) - {"no"}
            if "passed" in outcomes:
                kinds.add(machine["stand_in"])
            if "failed" in outcomes:
                kinds.discard(machine["stand_in"])
            stand_in = ", ".join(sorted(kinds)) or "no"
        elif "failed" in outcomes:
            seen = f"FAILED {run}"
        elif "passed" in outcomes:
            seen = run
        rows.append(f"| {name} | {stand_in} | {seen} |")
    return rows


def list_outcomes(name: str, found: Found) -> set[str]:
    """The outcomes of a test with all its parameters."""
    if name == BENCHMARKS:
        bench = found["benchmarks"]
        return set() if bench is None else {"failed" if bench["status"] else "passed"}
    function = f"::test_{name.replace(' ', '_')}"
    results = found["tests"]
    return {r["outcome"] for r in results if r["name"].partition("[")[0].endswith(function)}


def update_readme(readme: str, found: Found) -> str:
    """The README with the new rows in place of the old ones."""
    rows = "\n".join(make_rows(readme, found))
    first = ROW.search(readme)
    if first is None:
        raise SystemExit("README.md has no table to update")
    return readme[: first.start()] + rows + "\n" + ROW.sub("", readme[first.start() :]).lstrip("\n")


if __name__ == "__main__":
    path = FOLDER / "README.md"
    found = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    path.write_text(update_readme(path.read_text("utf-8"), found), "utf-8")
