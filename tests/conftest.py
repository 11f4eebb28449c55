"""Each test process uses one thread: two share two cores, and small tensors need no more."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
