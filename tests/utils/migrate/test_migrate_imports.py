"""After a migration, every import names a file of the new folder that has the name."""

from __future__ import annotations

import textwrap
from typing import Any

import pytest
from imports import find_broken_imports
from small_projects import TEMPLATE

from tests.forked import run_forked
from tests.helpers import ROOT

LOSS = textwrap.dedent(TEMPLATE["model/loss.py"])
DOUBLE = "\n\ndef double(output, target):\n    return 2 * nll_loss(output, target)\n"
TRACKER = TEMPLATE["utils/util.py"]
LOOP = TEMPLATE["trainer/trainer.py"]
BASE = TEMPLATE["base/base_trainer.py"]

# Files of the template under other names, and files that use them.
MOVED: dict[str, dict[str, Any]] = {
    "nothing": {},
    "the loss in utils": {
        "model__loss": None,
        "model__init": "from .model import *\n",
        "model__model": "class Net:\n    pass\n",
        "utils__loss": LOSS + DOUBLE,
        "utils__init": "from .util import *\nfrom .loss import *\n",
    },
    "only the loss in utils": {
        "model__loss": None,
        "utils__loss": LOSS,
        "mine": "from utils.loss import nll_loss\n",
    },
    "the trainer in base": {
        "base__trainer": LOOP.replace("from base import", "from base.base_trainer import"),
        "trainer__trainer": "from base.trainer import Trainer\n",
    },
    "the helpers elsewhere": {
        "utils__util": None,
        "utils__helpers": TRACKER,
        "utils__init": "from .helpers import *\n",
        "mine": "from utils.helpers import MetricTracker, inf_loop\n",
    },
    "an imported import": {"mine": "from utils.util import json, MetricTracker\n"},
    "a trainer base of another name": {
        "base__base_trainer": None,
        "base__base_two_trainer": BASE.replace("BaseTrainer", "BaseTwoTrainer"),
        "base__init": TEMPLATE["base/__init__.py"].replace("base_trainer", "base_two_trainer"),
        "trainer__trainer": LOOP.replace("BaseTrainer", "BaseTwoTrainer"),
    },
    "a config module": {
        "config": "ANSWER = 1\n",
        "utils__util": textwrap.dedent(TRACKER) + "\n\nA = 1\n",
    },
}


@pytest.mark.parametrize("case", MOVED)
@pytest.mark.parametrize("clouds", [False, True])
def test_every_import_names_a_file_of_the_new_folder_that_has_the_name(migrate, case, clouds):
    _, _, folder = migrate(clouds=clouds, **MOVED[case])
    assert find_broken_imports(folder, ROOT) == []


def test_a_name_or_a_file_that_is_missing_is_found(tmp_path):
    """The walk itself: without this test, it could pass because it sees nothing."""
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack/one.py").write_text("import json\nX = 1\n")
    (tmp_path / "pack/__init__.py").write_text("from .one import *\n")
    text = """
        from pack import X, one, json, Y
        from pack.two import X
        import pack.three, os
        """
    (tmp_path / "user.py").write_text(textwrap.dedent(text))
    assert find_broken_imports(tmp_path, ROOT) == [
        "user.py:2: pack Y",
        "user.py:3: pack.two pack.two",
        "user.py:4: pack.three pack.three",
    ]


def test_a_moved_loss_and_a_moved_tracker_work(migrate):
    changed = MOVED["the loss in utils"] | {"utils__tracker": TRACKER}
    _, _, folder = migrate(**changed, mine="from utils.tracker import MetricTracker, inf_loop\n")
    code = (
        "import sys; sys.modules['pandas'] = sys\n"  # it is not among our dependencies
        "import mine, utils; print(utils.double(2, 0), mine.MetricTracker.__module__)"
    )
    done = run_forked("-c", code, cwd=folder)
    assert done.stdout.split() == ["4", "utils.util"], done.stderr
