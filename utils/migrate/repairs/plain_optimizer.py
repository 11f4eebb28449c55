"""Makes the optimizer with the arguments of the config only, without a fused kernel.

The last digits of a fused kernel's results differ from those of pytorch-template.

To remove it, delete this file and its line in base/__init__.py. Steps are then faster.
"""

from typing import Any

from base.loop import speedups


def get_no_arguments(config: Any, model: Any, parallel: Any, index: int = 0) -> dict[str, Any]:
    """Replaces the function that chooses a fused kernel."""
    return {}


speedups.choose_fused = get_no_arguments
