"""The parent classes of loaders, models and trainers: ``from base import BaseModel``."""

from utils.main import end_without_module

try:
    import base.checkpoint.template  # noqa: F401  (lets torch.load read pytorch-template's files)
    from base.base_data_loader import BaseDataLoader
    from base.base_model import BaseModel
    from base.base_trainer import BaseTrainer
    from base.loaders import DatasetLoader
except ModuleNotFoundError as error:
    end_without_module(error)
    raise

__all__ = ["BaseDataLoader", "BaseModel", "BaseTrainer", "DatasetLoader"]
