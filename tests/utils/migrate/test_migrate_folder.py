"""The new folder, its report, and what cannot be moved."""

from __future__ import annotations

import shutil

import pytest
from small_projects import OWN, make, tree_of

from tests.helpers import run
from utils.migrate.__main__ import main

PANDAS_TRACKER = OWN["utils/util.py"].replace("total[key] +=", "total[key] = 2 *")


def test_a_project_trains_resumes_and_tests_in_its_new_folder(migrate):
    status, report, folder = migrate()
    assert status == 0
    old = tree_of(folder.parent / "old")
    new = tree_of(folder)
    assert [
        path
        for path in OWN
        if new.get(path) == old[path] and "trainer/" not in path and "__init__" not in path
    ] == []
    assert (folder / "config.json").read_bytes() == old["config.json"]
    assert (folder / "MIGRATION.md").read_text() == report.rstrip("\n") + "\n"
    words = ("trainer.epochs=1", "--run-id", "a")
    for command in (
        ("train.py", "-c", "config.json", *words),
        ("train.py", "-r", "saved/Clouds/a", "trainer.epochs=2"),
    ):
        done = run(*command, cwd=folder)
        assert done.returncode == 0, done.stderr
    done = run("test.py", "-r", "saved/Clouds/a", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "macro_recall" in done.stdout


def test_what_was_changed_stays_and_finds_ours_beside_it(migrate):
    util = OWN["utils/util.py"].replace("return n_gpu_use", "return n_gpu_use + 1")
    _, report, folder = migrate(utils__util=util, config="ANSWER = 42\n")
    text = (folder / "utils/util.py").read_text()
    assert "from utils.plainloop_util import MetricTracker, inf_loop, read_json" in text
    assert "class MetricTracker" not in text
    assert "prepare_device (line 7) changed, misses" in report
    program = (
        "import base, parse_config, trainer, config, utils;"
        "print(utils.prepare_device(1), config.ANSWER, parse_config.ConfigParser.__module__,"
        "base.BaseTrainer.__module__, utils.MetricTracker.__module__)"
    )
    done = run(
        "-c",
        program.replace("import base", "import sys; sys.modules['pandas'] = sys; import base"),
        cwd=folder,
    )
    assert done.stdout.split() == [
        "2",
        "42",
        "parse_config",
        "base.base_trainer",
        "utils.plainloop_util",
    ], done.stderr


def test_a_changed_tracker_on_a_pandas_frame_is_repaired_in_its_line(migrate):
    _, report, folder = migrate(utils__util=PANDAS_TRACKER)
    text = (folder / "utils/util.py").read_text()
    assert "self._data = LiveFrame(index=keys, columns=['total', 'counts'])" in text
    assert "from repairs.live_frame import LiveFrame\n" in text
    assert "repairs/live_frame.py: a pandas frame" in report
    assert "(utils/util.py:16). To be rid of it" in report


def test_each_repair_has_a_file_and_a_line_and_only_those_that_are_needed(migrate):
    trainer = OWN["base/base_trainer.py"].replace(
        "self._secret = 1", "self._secret = torch.load('a')\n        "
    )
    # np.NaN, as torchmetrics gives NumPy its np.Inf back in whatever process imports it
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


def test_the_way_to_a_process_for_each_gpu_is_told_and_leads_there(migrate):
    _, report, folder = migrate()
    told = next(line for line in report.split("\n") if line.startswith("- several GPUs"))
    assert told == (
        "- several GPUs, a process for each (`-d 0,1`, or `parallel` in the config): delete repairs/template_order.py "
        "and its line in base/__init__.py, which cannot divide a batch; call `self.update.backward(loss, self.share)`, "
        "which counts parts of a batch by their size"
    )
    command = (
        "train.py",
        "-c",
        "config.json",
        "parallel.args.num_processes=2",
        "parallel.type=ddp",
    )
    failed = run(*command, "trainer.epochs=1", cwd=folder)
    assert (
        "processes cannot divide batches in the template's order: delete repairs/template_order.py"
        in failed.stderr
    )
    (folder / "repairs/template_order.py").unlink()
    lines = (folder / "base/__init__.py").read_text().splitlines(keepends=True)
    (folder / "base/__init__.py").write_text(
        "".join(line for line in lines if "template_order" not in line)
    )
    done = run(*command, "trainer.epochs=1", cwd=folder)
    assert done.returncode == 0, done.stderr


def test_where_a_config_wants_data_parallel_it_says_what_to_write_for_processes(migrate, tmp_path):
    make(tmp_path / "old", clouds=False)
    (tmp_path / "old/config.json").write_text(
        '{"name": "a", "n_gpu": 2, "arch": {}, "trainer": {"epochs": 1}}'
    )
    _, report, _ = migrate(clouds=False)
    assert (
        "in place of DataParallel: write `n_gpu: 1` where a config asks for more than one GPU"
        in report
    )


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("def f(x):\n    return x.cuda()\n", "mine.py:2: `x.cuda()` needs an NVIDIA card"),
        ("import yaml\nyaml.load(open('a'))\n", "mine.py:2: yaml.load needs a Loader"),
        ("from collections import Iterable\n", "mine.py:1: collections.Iterable is gone"),
        ("print 'python 2'\n", "mine.py:1: does not parse"),
    ],
)
def test_check_says_3_where_something_is_left_for_a_person(migrate, line, told):
    status, report, target = migrate(check=True, mine=line)
    assert status == 3
    assert told in report
    assert not target.exists()


def test_check_says_0_where_nothing_is_left(migrate):
    status, report, target = migrate(check=True)
    assert (status, target.exists()) == (0, False)
    assert "## Left for a person\n\nNothing." in report


def test_the_project_is_not_changed_and_what_does_not_parse_is_kept_aside(migrate, tmp_path):
    project = make(tmp_path / "old", mine="print 'python 2'\n")
    (project / "link").symlink_to("config.json")
    (project / "saved").mkdir()
    (project / "results").mkdir()
    (project / "saved" / "model.pth").write_text("weights")
    before = tree_of(project)
    _, _, folder = migrate(mine="print 'python 2'\n")
    assert tree_of(project) == before
    assert (folder / "aside/mine.py").read_text() == "print 'python 2'\n"
    assert not (folder / "mine.py").exists()
    assert (folder / "link").is_symlink()
    assert (folder / "results").is_dir()
    assert not (folder / "saved").exists()


def test_a_key_that_ours_does_not_take_is_told(migrate, tmp_path):
    config = (make(tmp_path / "old") / "config.json").read_text()
    (tmp_path / "old" / "other.json").write_text(config.replace('"epochs": 3', '"epochs": "three"'))
    status, report, _ = migrate(check=True)
    assert status == 3
    assert "other.json" in report
    assert "trainer.epochs: wants int, not 'three'" in report


@pytest.mark.parametrize("case", ["full", "inside", "nowhere", "file", "no project", "no template"])
def test_bad_input_is_one_line_and_writes_nothing(tmp_path, case):
    project = make(tmp_path / "old", clouds=False)
    target = {"full": tmp_path, "inside": project / "new", "nowhere": tmp_path / "a/b"}.get(
        case, tmp_path / "new"
    )
    if case == "file":
        target.write_text("in the way")
    if case == "no project":
        project = tmp_path / "missing"
    if case == "no template":
        shutil.rmtree(project / "base")
    before = tree_of(tmp_path)
    done = run("-m", "utils.migrate", project, "--to", target)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert tree_of(tmp_path) == before


def test_a_disk_that_fails_leaves_nothing_behind(tmp_path, monkeypatch, capsys):
    project = make(tmp_path / "old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copy2", full)
    with pytest.raises(ValueError, match="cannot be written: No space left on device"):
        main(project, tmp_path / "new")
    assert [path.name for path in tmp_path.iterdir()] == ["old"]


def test_an_empty_target_is_taken(tmp_path):
    (tmp_path / "new").mkdir()
    assert main(make(tmp_path / "old"), tmp_path / "new") == 0
    assert (tmp_path / "new" / "MIGRATION.md").is_file()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
