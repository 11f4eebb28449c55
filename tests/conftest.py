"""Each test process uses one thread: two share two cores, and small tensors need no more."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.fork_server import ForkServer

os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def fork_server() -> Iterator[ForkServer]:
    """Runs programs without waiting for Python and torch to start."""
    from tests.fork_server import ForkServer  # imports torch, for which the variable must be set

    with ForkServer() as server:
        yield server
