"""The rules of the house that a machine can check."""

from __future__ import annotations

import ast
import io
import subprocess
import tokenize

import pytest

from tests.helpers import ROOT

TOP_LEVEL = {
    "pyproject.toml", "train.py", "test.py", "config", "base", "data_loader", "model", "trainer", "logger", "utils",
    "saved", "tests", "README.md", "Makefile", "LICENSE", ".ci", ".github", ".gitignore",
}  # fmt: skip
LISTED = subprocess.run(
    ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
).stdout.splitlines()
SOURCES = [name for name in LISTED if name.endswith(".py") and not name.startswith("tests/")]
BUDGET = 6627  # of what trains and tests, which is what one reads in an afternoon
TOOLS = (  # look at it from beside, or at what it left
    "config/__main__.py", "config/check/json_schema.py", "base/tools/display.py", "base/tools/batch_size.py", "base/tools/lr_find.py",
    "base/tools/predict.py", "base/tools/results.py", "base/tools/report.py", "base/tools/check.py", "base/tools/charts.py", "base/tools/pictures.py",
    "base/tools/page.py", "base/tools/runs.py", "utils/verify_resume.py",
)  # fmt: skip


def code_lines(text: str) -> int:
    """Lines that hold code: not blank, not comment, not docstring."""
    quiet = (
        tokenize.COMMENT,
        tokenize.NL,
        tokenize.NEWLINE,
        tokenize.INDENT,
        tokenize.DEDENT,
        tokenize.ENDMARKER,
    )
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    lines = {
        line
        for token in tokens
        if token.type not in quiet
        for line in range(token.start[0], token.end[0] + 1)
    }
    for node in ast.walk(ast.parse(text)):
        documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        if documented and ast.get_docstring(node, clean=False) is not None:
            lines -= set(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    return len(lines)


def test_the_top_level_is_the_given_one():
    assert {name.split("/")[0] for name in LISTED} <= TOP_LEVEL


@pytest.mark.parametrize("name", SOURCES)
def test_no_file_outgrows_300_lines_nor_a_function_50(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 300
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            first = node.body[0]
            documented = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
            start = node.body[1].lineno if documented and len(node.body) > 1 else first.lineno
            assert (node.end_lineno or 0) - start + 1 <= 50, f"{name}: {node.name}"


def test_the_programs_are_read_on_two_screens():
    for name in ("train.py", "test.py"):
        assert len((ROOT / name).read_text(encoding="utf-8").splitlines()) <= 100


def test_the_product_stays_in_its_budget():
    lines = {name: code_lines((ROOT / name).read_text(encoding="utf-8")) for name in SOURCES}
    tools = {name: lines.pop(name) for name in TOOLS}
    moving = {name: lines.pop(name) for name in SOURCES if name.startswith("utils/migrate/")}
    assert sum(lines.values()) <= BUDGET
    assert sum(tools.values()) <= 1700
    assert sum(moving.values()) <= 1063  # another tool, which a project needs once


def test_nothing_below_the_programs_imports_by_a_name_from_a_checkpoint():
    assert not any(
        "weights_only=False" in (ROOT / name).read_text(encoding="utf-8") for name in SOURCES
    )
