"""Small projects in pytorch-template's shape, written for these tests.

None of the template's code is here. TEMPLATE stands in for it, with a fingerprint table of its own.
"""

from __future__ import annotations

import ast
import textwrap
from pathlib import Path

from tests.helpers import ROOT
from utils.migrate.fingerprints import (
    FingerprintTable,
    compute_fingerprint,
    get_bindings,
    list_statements,
)

# A model, a loader, a trainer and a config that are a project's and not the template's.
CLOUDS = ROOT / "tests" / "fixtures" / "template_project"

TEMPLATE = {
    "base/__init__.py": """
        from .base_data_loader import *
        from .base_model import *
        from .base_trainer import *
        """,
    "base/base_data_loader.py": """
        from torch.utils.data import DataLoader

        class BaseDataLoader(DataLoader):
            def __init__(self, dataset, batch_size, shuffle, validation_split, num_workers,
                         collate_fn=None):
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
    "model/loss.py": "def nll_loss(output, target):\n    return output\n",
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


def make_table() -> FingerprintTable:
    """Returns what ``fingerprints.json`` would hold if TEMPLATE were the only version."""
    hashes, imports = {}, {}
    for path, text in TEMPLATE.items():
        tree = ast.parse(textwrap.dedent(text))
        hashes |= {
            compute_fingerprint(node): True
            for node in list_statements(tree, with_imports=path.endswith("__init__.py"))
        }
        for name, origin in get_bindings(tree).items():
            imports.setdefault(name, []).append(origin)
    return FingerprintTable(hashes, imports, [])


def make_project(folder: Path, clouds: bool = True, **changed: str | None) -> Path:
    """Writes a project: TEMPLATE with the files of CLOUDS and other changes.

    Args:
        folder: where to write it.
        clouds: whether CLOUDS replaces the template's model, loader, trainer and config.
        changed: texts of further files. A name has ``__`` for ``/`` and no ``.py``; ``init`` stands
            for ``__init__``. None removes the file.
    """
    texts = dict(TEMPLATE)
    if clouds:
        for path in sorted(CLOUDS.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts and path.name != "variants.py":
                texts[path.relative_to(CLOUDS).as_posix()] = path.read_text()
    for name, text in changed.items():
        path = name.replace("__", "/") + ".py"
        path = path.replace("/init.py", "/__init__.py")
        if text is None:
            texts.pop(path)
        else:
            texts[path] = text
    for path, text in texts.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(textwrap.dedent(text).lstrip("\n"))
    return folder


def read_tree(folder: Path) -> dict[str, bytes]:
    """Returns the content of all files of a folder, by path."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }
