"""Makes ``utils/migrate/fingerprints.json`` from the history of the template.

``python -m tests.utils.migrate.make_fingerprints GIT_DIR``, whenever the template moves on.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys

from utils.migrate.fingerprints import (
    TABLE,
    Table,
    bindings,
    digest_of,
    fingerprint,
    is_templates_path,
    statements,
)


def interface(node: ast.AST) -> set[str]:
    """The methods of a class, or the function itself, each with its parameters."""
    functions = [node] if isinstance(node, ast.FunctionDef) else ast.iter_child_nodes(node)
    return {
        f"{item.name}({', '.join(arg.arg for arg in item.args.args)})"
        for item in functions
        if isinstance(item, ast.FunctionDef)
        and (not item.name.startswith("_") or item.name == "__init__")
    }


def make(git_dir: str) -> Table:
    """Reads every version of the template on the branch that its users copied."""

    def git(*words: str) -> str:
        return raw(*words).decode()

    def raw(*words: str) -> bytes:
        return subprocess.run(["git", "--git-dir", git_dir, *words], capture_output=True).stdout

    last: dict[str, set[str]] = {}
    hashes: dict[str, bool] = {}
    imports: dict[str, set[str]] = {}
    seen, texts = set(), set()
    for commit in git("rev-list", "HEAD").split():  # the newest first
        for row in git("ls-tree", "-r", commit).splitlines():
            blob, path = row.split()[2], row.split("\t")[1]
            if (blob, path) in seen:
                continue
            seen.add((blob, path))
            if not path.endswith(".py") and path.rpartition("/")[2] != "config.json":
                texts.add(digest_of(raw("cat-file", "blob", blob)))
            if not is_templates_path(path):
                continue
            try:
                tree = ast.parse(git("cat-file", "blob", blob))
            except SyntaxError:
                continue
            for name, target in bindings(tree).items():
                imports.setdefault(name, set()).add(target)
            for node in statements(tree, imports=path.endswith("__init__.py")):
                name = getattr(node, "name", "")
                now = interface(node) <= last.setdefault(name, interface(node)) if name else True
                hashes[fingerprint(node)] = hashes.get(fingerprint(node), False) or now
    names = {name: sorted(targets) for name, targets in sorted(imports.items())}
    return Table(dict(sorted(hashes.items())), names, sorted(texts))


if __name__ == "__main__":
    TABLE.write_text(json.dumps(make(sys.argv[1])._asdict(), indent=0) + "\n", encoding="utf-8")
