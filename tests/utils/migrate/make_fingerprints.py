"""Makes ``utils/migrate/fingerprints.json`` from the history of the template.

Run ``python -m tests.utils.migrate.make_fingerprints GIT_DIR`` when the template has changed.
"""

from __future__ import annotations

import ast
import dataclasses
import json
import subprocess
import sys

from utils.migrate.fingerprints import (
    TABLE_PATH,
    FingerprintTable,
    compute_digest,
    compute_fingerprint,
    get_bindings,
    is_template_path,
    list_statements,
)


def get_interface(node: ast.AST) -> set[str]:
    """Returns the public methods of a class, or the function itself, with their parameters."""
    functions = [node] if isinstance(node, ast.FunctionDef) else ast.iter_child_nodes(node)
    return {
        f"{item.name}({', '.join(arg.arg for arg in item.args.args)})"
        for item in functions
        if isinstance(item, ast.FunctionDef)
        and (not item.name.startswith("_") or item.name == "__init__")
    }


def make_table(git_dir: str) -> FingerprintTable:
    """Reads every version of the template on the branch that its users copied."""

    def run_git(*words: str) -> bytes:
        return subprocess.run(["git", "--git-dir", git_dir, *words], capture_output=True).stdout

    last_interfaces: dict[str, set[str]] = {}
    hashes: dict[str, bool] = {}
    imports: dict[str, set[str]] = {}
    seen, texts = set(), set()
    for commit in run_git("rev-list", "HEAD").decode().split():  # the newest first
        for row in run_git("ls-tree", "-r", commit).decode().splitlines():
            blob, path = row.split()[2], row.split("\t")[1]
            if (blob, path) in seen:
                continue
            seen.add((blob, path))
            content = run_git("cat-file", "blob", blob)
            if not path.endswith(".py") and path.rpartition("/")[2] != "config.json":
                texts.add(compute_digest(content))
            if not is_template_path(path):
                continue
            try:
                tree = ast.parse(content.decode())
            except SyntaxError:
                continue
            for name, origin in get_bindings(tree).items():
                imports.setdefault(name, set()).add(origin)
            for node in list_statements(tree, with_imports=path.endswith("__init__.py")):
                name, fingerprint = getattr(node, "name", ""), compute_fingerprint(node)
                interface = get_interface(node)
                is_current = not name or interface <= last_interfaces.setdefault(name, interface)
                hashes[fingerprint] = hashes.get(fingerprint, False) or is_current
    origins = {name: sorted(found) for name, found in sorted(imports.items())}
    return FingerprintTable(dict(sorted(hashes.items())), origins, sorted(texts))


if __name__ == "__main__":
    content = json.dumps(dataclasses.asdict(make_table(sys.argv[1])), indent=0)
    TABLE_PATH.write_text(f"{content}\n", encoding="utf-8")
