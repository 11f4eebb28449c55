"""A small framework with three versions, whose command ``utils.upgrade`` is the real one."""

from __future__ import annotations

import shutil
from pathlib import Path

from invented import commit_all, write_files
from small_compose import compose

from tests.helpers import ROOT
from utils.project.git import Git

MODEL = "".join(f"line_{number} = {number}\n" for number in range(9))
TRAIN = """import pathlib, sys
name = sys.argv[sys.argv.index("-c") + 1]
if "--check" in sys.argv and "broken" in pathlib.Path(name).read_text():
    sys.exit(f"{name}:1:1: is broken")
"""
CONFIG_MAIN = 'import pathlib\npathlib.Path("config/schema.json").write_text("{\\"new\\": 1}")\n'
FILES = {
    "train.py": TRAIN,
    "config/__init__.py": "",
    "config/__main__.py": CONFIG_MAIN,
    "config/config.json": "{}\n",
    "config/schema.json": "{}\n",
    "base/tools/check.py": "",
    "base/old.py": "old = 1\n",
    "base/transfer/freeze.py": "freeze = 1\n",
    "model/model.py": MODEL,
    "utils/verify_resume.py": "print('the same')\n",
    "utils/version.py": 'VERSION = "0.1.0"\n',
    "CHANGELOG.md": "# Changes\n\n## 0.1.0: the first\n\n- All.\n",
}
SECOND = {
    "model/model.py": MODEL.replace("line_7 = 7", "line_7 = 70"),
    "base/new.py": "new = 1\n",
    "utils/version.py": 'VERSION = "0.2.0"\n',
    "CHANGELOG.md": "# Changes\n\n## 0.2.0: better\n\n- Line 7.\n\n## 0.1.0: the first\n\n- All.\n",
}
THIRD = {
    "model/model.py": SECOND["model/model.py"].replace("line_1 = 1", "line_1 = 10"),
    "utils/version.py": 'VERSION = "0.3.0"\n',
    "CHANGELOG.md": f"# Changes\n\n## 0.3.0: now\n\n- Line 1.\n\n{SECOND['CHANGELOG.md'][11:]}",
}


def make_framework(folder: Path) -> Git:
    """Versions 0.1.0 and 0.2.0 have no tags, 0.3.0 has one; it is checked out."""
    ignored = shutil.ignore_patterns("__pycache__", "migrate", "compose.py")
    shutil.copytree(ROOT / "utils", folder / "utils", ignore=ignored)
    shutil.copy(Path(__file__).with_name("small_compose.py"), folder / "utils/project/compose.py")
    git = Git(folder)
    git.run("init", "-q")
    git.run("config", "user.name", "Plainloop")
    git.run("config", "user.email", "plainloop@example.invalid")
    for number, files in enumerate((FILES, SECOND, THIRD)):
        write_files(folder, {path: text.encode() for path, text in files.items()})
        if number == 1:
            (folder / "base/old.py").unlink()
        commit_all(folder, f"version {number}")
    git.run("tag", "v0.3.0")
    return git


def make_project_of(framework: Git, folder: Path, commit: str = "HEAD~2") -> Git:
    """A project of the small framework, at its first version."""
    framework.run("checkout", "-q", "--detach", commit)
    compose(framework.folder, folder, "config/config.json", []).write(folder)
    framework.run("checkout", "-q", "v0.3.0")
    git = Git(folder)
    git.run("init", "-q")
    git.run("config", "user.name", "Ada")
    git.run("config", "user.email", "ada@example.invalid")
    (folder / ".gitignore").write_text("__pycache__/\n")
    commit_all(folder, "first")
    return git
