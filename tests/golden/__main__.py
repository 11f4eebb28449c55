"""Golden bits: what a set of runs ends with, recorded from one tree and compared with another.

    python -m tests.golden record bits.json --project ../before
    python -m tests.golden compare bits.json

The bits depend on the machine, the torch build and the thread count, so both trees are run on the
same machine and the file is not committed.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from tests.golden.cases import CASES, run_case

ROOT = Path(__file__).parent.parent.parent


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.golden", description=__doc__)
    parser.add_argument("command", choices=["record", "compare"])
    parser.add_argument("file", type=Path)
    parser.add_argument("--project", type=Path, default=ROOT, help="the tree that is run")
    parser.add_argument("--only", nargs="*", choices=CASES, help="run only these cases")
    args = parser.parse_args()
    found = {}
    for name in args.only or CASES:
        with tempfile.TemporaryDirectory(prefix="golden-") as folder:
            found[name] = run_case(name, args.project.resolve(), Path(folder))
        print(f"{name}: {found[name]}", flush=True)
    if args.command == "record":
        args.file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        return 0
    expected = json.loads(args.file.read_text(encoding="utf-8"))
    other = [
        f"{name}: {part}"
        for name, hashes in found.items()
        for part, value in hashes.items()
        if expected[name][part] != value
    ]
    print("\n".join(["Not the same:", *other]) if other else "The same bits.")
    return 1 if other else 0


if __name__ == "__main__":
    sys.exit(main())
