"""What a run tells: the console, info.log, metrics.jsonl, TensorBoard, and where it came from."""

from .logger import setup_logging
from .visualization import TensorboardWriter

__all__ = ["TensorboardWriter", "setup_logging"]
