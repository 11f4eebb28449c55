"""What a run tells: the console, info.log, metrics.jsonl, TensorBoard, and where it came from."""

from logger.logger import setup_logging
from logger.visualization import TensorboardWriter

__all__ = ["TensorboardWriter", "setup_logging"]
