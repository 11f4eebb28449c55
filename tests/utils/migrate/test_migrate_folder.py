"""The new folder, its report, and what is refused."""

from __future__ import annotations

import shutil

import pytest
from small_projects import TEMPLATE, make_project, read_tree

from tests.forked import run_forked
from tests.helpers import run
from utils.migrate.__main__ import main

PANDAS_TRACKER = TEMPLATE["utils/util.py"].replace("total[key] +=", "total[key] = 2 *")
MULTI_GPU_STEPS = (
    "- several GPUs, one process for each (`-d 0,1`, or `parallel` in the config): "
    "delete repairs/template_order.py and its line in base/__init__.py, since it cannot divide a "
    "batch; call `self.update.backward(loss, self.loss_weight)`, which weights each process's "
    "part of a batch by its size"
)
PROGRAM = """
import sys
sys.modules["pandas"] = sys  # it is not needed
import base, parse_config, trainer, config, utils
print(utils.prepare_device(1), config.ANSWER, parse_config.ConfigParser.__module__)
print(base.BaseTrainer.__module__, utils.MetricTracker.__module__)
"""


def test_a_project_trains_resumes_and_tests_in_its_new_folder(migrate):
    status, report, folder = migrate()
    assert status == 0
    old = read_tree(folder.parent / "old")
    new = read_tree(folder)
    for path in TEMPLATE:
        if "trainer/" not in path and "model/" not in path and "__init__" not in path:
            assert new.get(path) != old[path], path
    assert (folder / "config.json").read_bytes() == old["config.json"]
    assert (folder / "MIGRATION.md").read_text() == report.rstrip("\n") + "\n"
    for command in (
        ("train.py", "-c", "config.json", "trainer.epochs=1", "--run-id", "a"),
        ("train.py", "-r", "saved/Clouds/a", "trainer.epochs=2"),
    ):
        done = run_forked(*command, cwd=folder)
        assert done.returncode == 0, done.stderr
    done = run_forked("test.py", "-r", "saved/Clouds/a", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "macro_recall" in done.stdout


def test_changed_code_is_kept_and_imports_plainloops_code_beside_it(migrate):
    util = TEMPLATE["utils/util.py"].replace("return n_gpu_use", "return n_gpu_use + 1")
    _, report, folder = migrate(utils__util=util, config="ANSWER = 42\n")
    text = (folder / "utils/util.py").read_text()
    assert "from utils.plainloop_util import MetricTracker, inf_loop, read_json" in text
    assert "class MetricTracker" not in text
    assert "prepare_device (line 7) changed, lacks" in report
    done = run_forked("-c", PROGRAM, cwd=folder)
    assert done.stdout.split() == [
        "2",
        "42",
        "parse_config",
        "base.base_trainer",
        "utils.plainloop_util",
    ], done.stderr


def test_files_that_are_named_like_plainloops_are_kept_and_found(migrate):
    modules = ["base.data", "base.tools", "base.checkpoint", "logger.backends", "base.loop.metrics"]
    files = {module.replace(".", "__"): "VALUE = 1\n" for module in modules}
    files["utils__seed__init"] = "VALUE = 1\n"
    imports = "".join(f"from {module} import VALUE\n" for module in [*modules, "utils.seed"])
    _, _, folder = migrate(data_loader__extra=imports, **files)
    done = run_forked("-c", "import data_loader.extra", cwd=folder)
    assert done.returncode == 0, done.stderr
    for words in (["--check"], ["--run-id", "a", "trainer.epochs=1"]):
        done = run_forked("train.py", "-c", "config.json", *words, cwd=folder)
        assert done.returncode == 0, done.stderr


def test_a_changed_tracker_on_a_pandas_frame_is_repaired_in_its_line(migrate):
    _, report, folder = migrate(utils__util=PANDAS_TRACKER)
    text = (folder / "utils/util.py").read_text()
    assert "self._data = LiveFrame(index=keys, columns=['total', 'counts'])" in text
    assert "from repairs.live_frame import LiveFrame\n" in text
    assert "repairs/live_frame.py: a DataFrame with writable columns" in report
    assert "(utils/util.py:16). To remove it, " in report


def test_only_needed_repairs_are_written_and_imported(migrate):
    trainer = TEMPLATE["base/base_trainer.py"].replace(
        "self._secret = 1", "self._secret = torch.load('a')\n        "
    )
    # np.NaN and not np.Inf, which torchmetrics restores in each process that imports it.
    trainer = "import torch\nimport numpy as np\nBEST = np.NaN\n" + "\n".join(
        line[8:] for line in trainer.split("\n") if "import" not in line
    )
    _, _, folder = migrate(base__base_trainer=trainer)
    text = (folder / "base/__init__.py").read_text()
    assert "import repairs.numpy_names" in text
    assert "import repairs.safe_load" in text
    assert "import repairs.template_order" in text
    assert "ties" not in text
    assert not (folder / "repairs/ties.py").exists()


def test_following_the_steps_for_several_gpus_trains_with_two_processes(migrate):
    _, report, folder = migrate()
    assert MULTI_GPU_STEPS in report.split("\n")
    (folder / "repairs/template_order.py").unlink()
    lines = (folder / "base/__init__.py").read_text().splitlines(keepends=True)
    (folder / "base/__init__.py").write_text(
        "".join(line for line in lines if "template_order" not in line)
    )
    words = ["parallel.args.num_processes=2", "parallel.type=ddp", "trainer.epochs=1"]
    done = run("train.py", "-c", "config.json", *words, cwd=folder)
    assert done.returncode == 0, done.stderr


def test_a_config_with_several_gpus_gets_advice_for_processes(migrate, tmp_path):
    make_project(tmp_path / "old", clouds=False)
    (tmp_path / "old/config.json").write_text(
        '{"name": "a", "n_gpu": 2, "arch": {}, "trainer": {"epochs": 1}}'
    )
    _, report, _ = migrate(clouds=False)
    advice = "instead of DataParallel: write `n_gpu: 1` in each config that asks for several GPUs"
    assert advice in report


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("def f(x):\n    return x.cuda()\n", "mine.py:2: `x.cuda()` needs an NVIDIA GPU"),
        ("import yaml\nyaml.load(open('a'))\n", "mine.py:2: yaml.load needs a Loader"),
        ("from collections import Iterable\n", "mine.py:1: collections.Iterable was removed"),
        ("print 'python 2'\n", "mine.py:1: cannot be parsed"),
    ],
)
def test_check_returns_3_if_something_needs_attention(migrate, text, problem):
    status, report, target = migrate(check=True, mine=text)
    assert status == 3
    assert problem in report
    assert not target.exists()


def test_check_returns_0_if_nothing_needs_attention(migrate):
    status, report, target = migrate(check=True)
    assert (status, target.exists()) == (0, False)
    assert "## Needs your attention\n\nNothing." in report


def test_the_project_is_unchanged_and_unparsable_files_are_put_aside(migrate, tmp_path):
    project = make_project(tmp_path / "old", mine="print 'python 2'\n")
    (project / "link").symlink_to("config.json")
    (project / "saved").mkdir()
    (project / "results").mkdir()
    (project / "saved" / "model.pth").write_text("weights")
    before = read_tree(project)
    _, _, folder = migrate(mine="print 'python 2'\n")
    assert read_tree(project) == before
    assert (folder / "aside/mine.py").read_text() == "print 'python 2'\n"
    assert not (folder / "mine.py").exists()
    assert (folder / "link").is_symlink()
    assert (folder / "results").is_dir()
    assert not (folder / "saved").exists()


def test_a_config_value_that_plainloop_refuses_is_reported(migrate, tmp_path):
    config = (make_project(tmp_path / "old") / "config.json").read_text()
    (tmp_path / "old" / "other.json").write_text(config.replace('"epochs": 3', '"epochs": "three"'))
    status, report, _ = migrate(check=True)
    assert status == 3
    assert "other.json" in report
    assert "trainer.epochs: wants int, not 'three'" in report


@pytest.mark.parametrize("case", ["full", "inside", "nowhere", "file", "no project", "no template"])
def test_bad_input_is_one_line_and_writes_nothing(tmp_path, case):
    project = make_project(tmp_path / "old", clouds=False)
    target = {"full": tmp_path, "inside": project / "new", "nowhere": tmp_path / "a/b"}.get(
        case, tmp_path / "new"
    )
    if case == "file":
        target.write_text("in the way")
    if case == "no project":
        project = tmp_path / "missing"
    if case == "no template":
        shutil.rmtree(project)
        project.mkdir()
        (project / "mine.py").write_text("X = 1\n")
    before = read_tree(tmp_path)
    done = run_forked("-m", "utils.migrate", project, "--to", target)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert read_tree(tmp_path) == before


def test_a_full_disk_leaves_nothing_behind(tmp_path, monkeypatch):
    project = make_project(tmp_path / "old")

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copy2", fail)
    with pytest.raises(ValueError, match="cannot be written: No space left on device"):
        main(project, tmp_path / "new")
    assert [path.name for path in tmp_path.iterdir()] == ["old"]


def test_an_empty_target_folder_is_accepted(tmp_path):
    (tmp_path / "new").mkdir()
    assert main(make_project(tmp_path / "old"), tmp_path / "new") == 0
    assert (tmp_path / "new" / "MIGRATION.md").is_file()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
