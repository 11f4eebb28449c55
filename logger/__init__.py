"""What a run writes about itself: console, info.log, metrics.jsonl, TensorBoard, W&B."""

from logger.logger import setup_logging
from logger.visualization import TensorboardWriter

__all__ = ["TensorboardWriter", "setup_logging"]
