"""The optimizer is made as the config says it, not with a fused kernel, whose last digits differ.

To give it up for cheaper steps: delete this file and its line in base/__init__.py.
"""

from typing import Any

import base.loop.speedups


def fused(config: Any, model: Any) -> dict[str, Any]:
    """No further arguments."""
    return {}


base.loop.speedups.fused = fused
