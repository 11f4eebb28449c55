"""What is the template's own, what was changed, and what of the first may give way."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from small_projects import OWN, make

from utils.errors import UserError
from utils.migrate.configs import find
from utils.migrate.decide import decide
from utils.migrate.fingerprints import fingerprint
from utils.migrate.project import Survey, read

TRAINER = "from base import BaseTrainer\n\nclass Trainer(BaseTrainer):\n    def _train_epoch(self, epoch):\n        {}\n"


def decided(folder: Path, **changed: str | None) -> Survey:
    project = make(folder, **changed)
    survey = read(project)
    decide(survey, find(project, survey.others))
    return survey


def why(survey: Survey, name: str) -> str:
    place = survey.staying(name)
    return "" if place is None else place[1].why or place[1].kind


def test_an_unchanged_project_gives_way_altogether(tmp_path):
    survey = decided(tmp_path, clouds=False)
    assert [file.path for file in survey.kept] == []


def test_formatting_comments_and_docstrings_do_not_matter():
    a = ast.parse("def f(x):\n    return g(x, 'a')").body[0]
    b = ast.parse('def f( x ):\n    """Says it."""\n    # why\n    return g(x,\n        "a")').body[
        0
    ]
    assert fingerprint(a) == fingerprint(b)
    assert fingerprint(a) != fingerprint(ast.parse("def f(x):\n    return g(x, 'b')").body[0])


def test_another_import_under_the_same_name_is_a_change(tmp_path):
    text = OWN["trainer/trainer.py"].replace("from base import", "from mine import")
    assert why(decided(tmp_path, clouds=False, trainer__trainer=text), "Trainer") == "changed"


def test_config_parser_and_base_trainer_give_way_together_or_not_at_all(tmp_path):
    parser = OWN["parse_config.py"].replace("self._config = config", "self._config = dict(config)")
    survey = decided(tmp_path, clouds=False, parse_config=parser)
    assert why(survey, "ConfigParser") == "changed"
    assert why(survey, "BaseTrainer") == "as ConfigParser is changed"
    assert why(survey, "Trainer") == "as BaseTrainer is kept"
    assert why(survey, "_helper") == "as it is used by what stays"
    assert why(survey, "BaseDataLoader") == ""


def test_a_changed_base_trainer_keeps_the_config_parser(tmp_path):
    trainer = OWN["base/base_trainer.py"].replace("self._secret = 1", "self._secret = 2")
    survey = decided(tmp_path, clouds=False, base__base_trainer=trainer)
    assert why(survey, "BaseTrainer") == "changed"
    assert why(survey, "ConfigParser") == "as BaseTrainer is changed"


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("BaseTrainer", {"trainer__trainer": TRAINER.format("return self._secret")}),
        ("BaseTrainer", {"trainer__trainer": TRAINER.format("return 'saved/model_best.pth'")}),
        ("BaseTrainer", {"logger__visualization": "class TensorboardWriter:\n    pass\n"}),
        ("ConfigParser", {"train": "def main(config):\n    print(config.save_dir)\n"}),
        ("ConfigParser", {"mine": "def f(config):\n    return config._config\n"}),
        ("Trainer", {"train": "from trainer import Trainer\n\ndef main(c):\n    Trainer(c, len_epoch=5)\n"}),
        ("train.py", {"train": OWN["train.py"] + "SEED = 1\n"}),
        ("Trainer", {"trainer__trainer": OWN["trainer/trainer.py"] + "LATER = 1\n"}),
    ],
)  # fmt: skip
def test_what_others_use_that_ours_has_not_stays(tmp_path, name, changed):
    assert why(decided(tmp_path, clouds=False, **changed), name)


def test_a_config_that_ours_cannot_read_keeps_the_projects_parser(tmp_path):
    make(tmp_path, clouds=False)
    (tmp_path / "config.json").write_text(
        '{"name": "a", "name": "b", "arch": {}, "trainer": {"epochs": 1}}'
    )
    assert "config.json" in why(decided(tmp_path, clouds=False), "ConfigParser")


def test_data_parallel_stays_where_a_config_asks_for_more_than_one_gpu(tmp_path):
    make(tmp_path, clouds=False)
    for number, kept in (
        (1, ""),
        (2, "as config.json asks for more than one GPU, for which it has DataParallel"),
    ):
        (tmp_path / "config.json").write_text(
            f'{{"name": "a", "n_gpu": {number}, "arch": {{}}, "trainer": {{}}}}'
        )
        survey = decided(tmp_path, clouds=False)
        assert why(survey, "BaseTrainer") == kept
        assert bool(why(survey, "train.py")) == bool(why(survey, "test.py")) == bool(kept)


def test_a_file_that_only_imports_stays(tmp_path):
    survey = decided(
        tmp_path, clouds=False, data_loader__data_loaders="from .mine import MyLoader\n"
    )
    assert "data_loader/data_loaders.py" in {file.path for file in survey.kept}


def test_a_file_of_which_others_import_all_keeps_its_imports(tmp_path):
    survey = decided(tmp_path, clouds=False, mine="from utils.util import *\n\nprint(json, pd)\n")
    assert survey.files["utils/util.py"].whole
    assert survey.staying("MetricTracker") is None


def test_what_is_no_such_project_says_what_was_looked_for(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        read(tmp_path / "nowhere")
    make(tmp_path / "src", clouds=False)
    with pytest.raises(UserError, match=r"no base/base_trainer.py; there is one in .*/src"):
        read(tmp_path)
