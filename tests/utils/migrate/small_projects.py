"""Small projects in pytorch-template's shape, written for these tests; a table of their own tells "the template's".

None of the template's code is here: what the tests call its own are these few lines.
"""

from __future__ import annotations

import ast
import textwrap
from pathlib import Path

from tests.helpers import ROOT
from utils.migrate.fingerprints import Table, bindings, fingerprint, statements

CLOUDS = (
    ROOT / "tests" / "fixtures" / "template_project"
)  # a model, a loader, a trainer and a config of its own

OWN = {
    "base/__init__.py": "from .base_data_loader import *\nfrom .base_model import *\nfrom .base_trainer import *\n",
    "base/base_data_loader.py": """
        from torch.utils.data import DataLoader

        class BaseDataLoader(DataLoader):
            def __init__(self, dataset, batch_size, shuffle, validation_split, num_workers, collate_fn=None):
                super().__init__(dataset, batch_size, shuffle)

            def split_validation(self):
                return None
        """,
    "base/base_model.py": """
        from torch import nn

        class BaseModel(nn.Module):
            def forward(self, *inputs):
                raise NotImplementedError
        """,
    "base/base_trainer.py": """
        from logger import TensorboardWriter

        class BaseTrainer:
            def __init__(self, model, criterion, metric_ftns, optimizer, config):
                self.writer = TensorboardWriter(config.log_dir, None, True)
                self._secret = 1

            def train(self):
                pass
        """,
    "logger/__init__.py": "from .logger import *\nfrom .visualization import *\n",
    "logger/logger.py": "def setup_logging(save_dir):\n    return save_dir\n",
    "logger/visualization.py": """
        class TensorboardWriter:
            def __init__(self, log_dir, logger, enabled):
                self.step = 0
        """,
    "utils/__init__.py": "from .util import *\n",
    "utils/util.py": """
        import json
        import pandas as pd

        def read_json(fname):
            return json.load(open(fname))

        def prepare_device(n_gpu_use):
            return n_gpu_use

        def inf_loop(data_loader):
            while True:
                yield from data_loader

        class MetricTracker:
            def __init__(self, *keys, writer=None):
                self._data = pd.DataFrame(index=keys, columns=['total', 'counts'])

            def update(self, key, value, n=1):
                self._data.total[key] += value * n

            def result(self):
                return dict(self._data.total)
        """,
    "parse_config.py": """
        from utils import read_json

        class ConfigParser:
            def __init__(self, config, resume=None, modification=None, run_id=None):
                self._config = config

            def init_obj(self, name, module, *args, **kwargs):
                return _helper(self._config, name)

        def _helper(config, name):
            return config[name]
        """,
    "trainer/__init__.py": "from .trainer import *\n",
    "trainer/trainer.py": """
        from base import BaseTrainer
        from utils import MetricTracker

        class Trainer(BaseTrainer):
            def _train_epoch(self, epoch):
                self.train_metrics = MetricTracker('loss')
                return {}
        """,
    "train.py": """
        from parse_config import ConfigParser
        from trainer import Trainer

        def main(config):
            Trainer(config)
        """,
    "test.py": "from parse_config import ConfigParser\n\ndef main(config):\n    return config\n",
}  # fmt: skip


def table() -> Table:
    """What ``fingerprints.json`` would say if OWN were the template's only version."""
    hashes, imports = {}, {}
    for path, text in OWN.items():
        tree = ast.parse(textwrap.dedent(text))
        hashes |= {
            fingerprint(node): True
            for node in statements(tree, imports=path.endswith("__init__.py"))
        }
        for name, target in bindings(tree).items():
            imports.setdefault(name, []).append(target)
    return Table(hashes, imports, [])


def make(folder: Path, clouds: bool = True, **changed: str | None) -> Path:
    """A project: OWN, with the clouds' model, loader, trainer and config, and other texts for some of the files.

    A file is named with ``__`` for ``/``, and without ``.py``; None takes it away.
    """
    texts = dict(OWN)
    if clouds:
        for path in sorted(CLOUDS.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts and path.name != "variants.py":
                texts[path.relative_to(CLOUDS).as_posix()] = path.read_text()
    for name, text in changed.items():
        path = name.replace("__", "/") + ".py"
        path = path.replace("/init/", "__init__").replace("/init.py", "/__init__.py")
        if text is None:
            texts.pop(path)
        else:
            texts[path] = text
    for path, text in texts.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(textwrap.dedent(text).lstrip("\n"))
    return folder


def tree_of(folder: Path) -> dict[str, bytes]:
    """All files of a folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }
