"""config/README.md mentions every key of a config and every file of the room."""

from __future__ import annotations

from base.schema import SCHEMA
from config.check.preflight import get_known_keys
from tests.helpers import ROOT

README = (ROOT / "config" / "README.md").read_text(encoding="utf-8")


def test_every_key_and_every_file_of_the_room_is_mentioned() -> None:
    for key in get_known_keys(SCHEMA):
        assert key in README
    room = [path.relative_to(ROOT / "config") for path in (ROOT / "config").rglob("*.py")]
    for path in room:
        assert path.name == "__init__.py" or path.as_posix() in README
