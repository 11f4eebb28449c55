"""What the user's own folders stand on: ``from base import BaseModel, BaseTrainer, …``."""

import base.checkpoint.template  # noqa: F401  (torch.load then reads pytorch-template's files)
from base.base_data_loader import BaseDataLoader
from base.base_model import BaseModel
from base.base_trainer import BaseTrainer
from base.loaders import DatasetLoader

__all__ = ["BaseDataLoader", "BaseModel", "BaseTrainer", "DatasetLoader"]
