"""What the user's own folders stand on: ``from base import BaseModel, BaseTrainer, …``."""

from base.base_data_loader import BaseDataLoader
from base.base_model import BaseModel
from base.base_trainer import BaseTrainer
from base.loaders import DatasetLoader

__all__ = ["BaseDataLoader", "BaseModel", "BaseTrainer", "DatasetLoader"]
