"""``utils.project.compose`` of the small frameworks in these tests: it takes all files."""

from __future__ import annotations

import shutil
from pathlib import Path

from utils.errors import UserError
from utils.project.git import Git
from utils.project.record import Record, get_blob_id
from utils.project.source import get_version

LEFT_OUT = {".git", "__pycache__", "CHANGELOG.md"}


def compose(framework: Path, target: Path, config: str, rooms: list[str]) -> Record:
    if not (framework / config).is_file():
        raise UserError(f"{config}: is no config of the framework")
    version = get_version((framework / "utils/version.py").read_text())
    record = Record(version, config=config, rooms=rooms, source=str(framework))
    record.commit = Git(framework).read("rev-parse", "HEAD")
    for path in sorted(framework.rglob("*")):
        name = path.relative_to(framework)
        is_room = name.parts[:2] == ("base", "transfer")
        if path.is_file() and not LEFT_OUT & set(name.parts) and (not is_room or rooms):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target / name)
            record.files[name.as_posix()] = get_blob_id(path.read_bytes())
    return record
