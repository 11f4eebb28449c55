"""Which definitions are the template's, which are changed, and which Plainloop replaces."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from small_projects import TEMPLATE, make_project

from utils.errors import UserError
from utils.migrate.configs import find_configs
from utils.migrate.decide import decide
from utils.migrate.fingerprints import compute_fingerprint
from utils.migrate.project import Project
from utils.migrate.read_project import read_project

TRAINER = """
from base import BaseTrainer

class Trainer(BaseTrainer):
    def _train_epoch(self, epoch):
        {}
"""
TRAINER_WITH_LENGTH = """
from trainer import Trainer

def main(c):
    Trainer(c, len_epoch=5)
"""


def read_and_decide(folder: Path, **changed: str | None) -> Project:
    project = read_project(make_project(folder, **changed))
    decide(project, find_configs(folder, project.other_files))
    return project


def get_reason(project: Project, name: str) -> str:
    """Returns why a definition is kept; empty if it is replaced."""
    definition = project.find_kept(name)
    return "" if definition is None else definition.reason or definition.origin


def compute_fingerprint_of(text: str) -> str:
    return compute_fingerprint(ast.parse(text).body[0])


def test_an_unchanged_project_is_replaced_completely(tmp_path):
    project = read_and_decide(tmp_path, clouds=False)
    assert [file.path for file in project.kept_files] == []


def test_formatting_comments_and_docstrings_do_not_change_a_fingerprint():
    plain = "def f(x):\n    return g(x, 'a')"
    formatted = 'def f( x ):\n    """Docstring."""\n    # comment\n    return g(x,\n        "a")'
    other = "def f(x):\n    return g(x, 'b')"
    assert compute_fingerprint_of(plain) == compute_fingerprint_of(formatted)
    assert compute_fingerprint_of(plain) != compute_fingerprint_of(other)


def test_another_import_under_the_same_name_is_a_change(tmp_path):
    text = TEMPLATE["trainer/trainer.py"].replace("from base import", "from mine import")
    project = read_and_decide(tmp_path, clouds=False, trainer__trainer=text)
    assert get_reason(project, "Trainer") == "changed"


def test_a_changed_config_parser_keeps_the_base_trainer(tmp_path):
    text = TEMPLATE["parse_config.py"]
    text = text.replace("self._config = config", "self._config = dict(config)")
    project = read_and_decide(tmp_path, clouds=False, parse_config=text)
    assert get_reason(project, "ConfigParser") == "changed"
    assert get_reason(project, "BaseTrainer") == "ConfigParser is changed"
    assert get_reason(project, "Trainer") == "BaseTrainer is kept"
    assert get_reason(project, "_helper") == "other kept code uses it"
    assert get_reason(project, "BaseDataLoader") == ""


def test_a_changed_base_trainer_keeps_the_config_parser(tmp_path):
    text = TEMPLATE["base/base_trainer.py"].replace("self._secret = 1", "self._secret = 2")
    project = read_and_decide(tmp_path, clouds=False, base__base_trainer=text)
    assert get_reason(project, "BaseTrainer") == "changed"
    assert get_reason(project, "ConfigParser") == "BaseTrainer is changed"


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("BaseTrainer", {"trainer__trainer": TRAINER.format("return self._secret")}),
        ("BaseTrainer", {"trainer__trainer": TRAINER.format("return 'saved/model_best.pth'")}),
        ("BaseTrainer", {"logger__visualization": "class TensorboardWriter:\n    pass\n"}),
        ("ConfigParser", {"train": "def main(config):\n    print(config.save_dir)\n"}),
        ("ConfigParser", {"mine": "def f(config):\n    return config._config\n"}),
        ("Trainer", {"train": TRAINER_WITH_LENGTH}),
        ("train.py", {"train": TEMPLATE["train.py"] + "SEED = 1\n"}),
        ("Trainer", {"trainer__trainer": TEMPLATE["trainer/trainer.py"] + "LATER = 1\n"}),
    ],
)
def test_a_definition_is_kept_if_other_code_uses_what_plainloop_lacks(tmp_path, name, changed):
    assert get_reason(read_and_decide(tmp_path, clouds=False, **changed), name)


def test_a_config_that_plainloop_cannot_read_keeps_the_config_parser(tmp_path):
    make_project(tmp_path, clouds=False)
    (tmp_path / "config.json").write_text(
        '{"name": "a", "name": "b", "arch": {}, "trainer": {"epochs": 1}}'
    )
    project = read_and_decide(tmp_path, clouds=False)
    assert "config.json" in get_reason(project, "ConfigParser")


def test_a_config_with_several_gpus_keeps_data_parallel(tmp_path):
    make_project(tmp_path, clouds=False)
    for n_gpu, reason in (
        (1, ""),
        (2, "config.json asks for several GPUs, for which it has DataParallel"),
    ):
        (tmp_path / "config.json").write_text(
            f'{{"name": "a", "n_gpu": {n_gpu}, "arch": {{}}, "trainer": {{}}}}'
        )
        project = read_and_decide(tmp_path, clouds=False)
        assert get_reason(project, "BaseTrainer") == reason
        assert bool(get_reason(project, "train.py")) == bool(reason)
        assert bool(get_reason(project, "test.py")) == bool(reason)


def test_a_file_that_only_imports_is_kept(tmp_path):
    text = "from .mine import MyLoader\n"
    project = read_and_decide(tmp_path, clouds=False, data_loader__data_loaders=text)
    assert "data_loader/data_loaders.py" in {file.path for file in project.kept_files}


def test_a_file_that_is_star_imported_keeps_its_imports(tmp_path):
    text = "from utils.util import *\n\nprint(json, pd)\n"
    project = read_and_decide(tmp_path, clouds=False, mine=text)
    assert project.files["utils/util.py"].keeps_imports
    assert project.find_kept("MetricTracker") is None


def test_another_folder_is_refused_with_what_is_missing(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        read_project(tmp_path / "nowhere")
    make_project(tmp_path / "src", clouds=False)
    missing = "no base/base_trainer.py or parse_config.py, and no class or function of the template"
    with pytest.raises(UserError, match=rf"{missing}; .*\.py is in .*/src"):
        read_project(tmp_path)


@pytest.mark.parametrize(
    ("kept", "marks"),
    [
        (["parse_config.py"], ["parse_config.py", "ConfigParser in parse_config.py"]),
        (["base/base_trainer.py"], ["base/base_trainer.py", "BaseTrainer in base/base_trainer.py"]),
        (["logger/logger.py"], ["setup_logging in logger/logger.py"]),
        (["base/__init__.py", "model/loss.py"], ["nll_loss in model/loss.py"]),
        (["base/__init__.py"], []),  # a line that any package may have
    ],
)
def test_one_definition_or_one_file_shows_that_it_is_the_templates(tmp_path, kept, marks):
    removed = [path.replace("__init__", "init") for path in TEMPLATE if path not in kept]
    names = [path.removesuffix(".py").replace("/", "__") for path in removed]
    make_project(tmp_path, clouds=False, **dict.fromkeys(names))
    if not marks:
        with pytest.raises(UserError, match="no class or function of the template"):
            read_project(tmp_path)
        return
    found = read_project(tmp_path).recognized_by
    assert found[: len(marks)] == marks


def test_attributes_that_a_parent_in_another_file_has_are_no_reason_to_keep_a_class(tmp_path):
    """ConfigParser has ``init_obj`` from ``config/template.py``."""
    train = "def main(config):\n    return config.init_obj('arch', None)\n"
    project = read_and_decide(tmp_path, clouds=False, train=train)
    assert get_reason(project, "ConfigParser") == get_reason(project, "BaseTrainer") == ""
