"""The version: one number for the package, the command, provenance and CHANGELOG."""

from __future__ import annotations

import re
import tomllib

from tests.forked import run_forked
from tests.helpers import ROOT
from utils.provenance import collect_provenance
from utils.version import VERSION


def test_the_command_prints_the_version() -> None:
    done = run_forked("train.py", "--version", cwd=ROOT)
    assert (done.returncode, done.stdout) == (0, f"Plainloop {VERSION}\n")


def test_the_newest_entry_of_the_changelog_is_of_this_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    versions = re.findall(r"^## (\S+):", text, re.MULTILINE)
    assert versions[0] == VERSION
    assert versions == sorted(versions, reverse=True, key=lambda v: [*map(int, v.split("."))])


def test_the_package_takes_its_version_from_the_code() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["dynamic"] == ["version"]
    attribute = project["tool"]["setuptools"]["dynamic"]["version"]["attr"]
    assert attribute == "utils.version.VERSION"


def test_provenance_names_the_version() -> None:
    assert collect_provenance()["versions"]["plainloop"] == VERSION
