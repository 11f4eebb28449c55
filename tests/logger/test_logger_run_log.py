"""The logs of a run are opened, or a line says why not."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

from logger import run_log
from tests.helpers import make_trainer, small_config
from utils.errors import UserError


def test_a_full_disk_at_the_start_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(run_log, "write_json", write)
    with pytest.raises(UserError, match="run: cannot be written: No space left on device"):
        make_trainer(small_config(tmp_path))
