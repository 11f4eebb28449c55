"""``train.py --check``: everything is tried on one batch, and nothing is left behind."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.base.tools.probe import CONFIG, FILES
from tests.base.tools.programs import Ended
from tests.helpers import ROOT, copy_project, run
from utils.errors import UserError

Check = Callable[..., Ended]


def read_findings(ended: Ended) -> dict[str, str]:
    """The lines that a check prints, by name."""
    assert (ended.status, ended.err, "All of it works:\n" in ended.out) == (0, "", True)
    return dict(re.findall(r"^  (\w+) +(.*)$", ended.out, re.MULTILINE))


def dataset_loader(dataset: str, **args: object) -> str:
    """The section of a loader of one of the probe's datasets, in YAML."""
    rest = "".join(f", {name}: {value}" for name, value in args.items())
    return f"{{type: DatasetLoader, args: {{dataset: {{type: probe.{dataset}}}{rest}}}}}"


def test_a_check_describes_the_model_the_batch_and_the_steps(check: Check) -> None:
    found = read_findings(check("arch={type: probe.Frozen}"))
    assert found["model"] == "Frozen on cpu"
    assert found["parameters"] == "1,650 in all, 1,614 trainable, 36 frozen"
    assert found["batch"] == "float32 (128, 1, 8, 8), int64 (128,)"
    assert found["output"] == "float32 (128, 10)"
    assert found["steps"] == "9 an epoch, 27 in 3 epochs"  # 1151 images to train on
    assert re.fullmatch(r"\d+\.\d{4} a batch, without loading it", found["seconds"])


@pytest.mark.parametrize(
    ("words", "steps"),
    [
        (["trainer.accumulation_steps=5"], "2 an epoch, 6 in 3 epochs"),
        (
            ["trainer.len_epoch=500", "trainer.accumulation_steps=3"],
            "167 an epoch, 501 in 3 epochs",
        ),
        (["trainer.len_epoch=2"], "2 an epoch, 6 in 3 epochs"),
        (["trainer.len_epoch=1", "trainer.epochs=1000"], "1 an epoch, 1,000 in 1000 epochs"),
    ],
)
def test_the_steps_of_the_run_are_counted(check: Check, words: list[str], steps: str) -> None:
    found = read_findings(check(*words))
    assert found["steps"] == steps
    assert not found["seconds"].startswith("0.0000")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of one epoch."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "probe.yaml").write_text(CONFIG)
    words = ["arch.args.width=64", "optimizer.type=AdamW", "trainer.ema_decay=0.9"]
    words += ["trainer.epochs=1", f"trainer.save_dir={folder}"]
    done = run("train.py", "-c", folder / "probe.yaml", "--run-id", "r", *words)
    assert done.returncode == 0, done.stderr
    return folder / "probe" / "r"


def test_the_size_of_the_checkpoint_is_that_of_the_run_s_first(
    check: Check, finished: Path
) -> None:
    found = read_findings(check("-c", str(finished / "config.json")))
    size_mb = (finished / "checkpoint-epoch1.pt").stat().st_size / 1e6
    assert float(found["checkpoint"].removesuffix(" MB")) == pytest.approx(size_mb, rel=0.1)


def test_checking_a_resumed_run_leaves_its_folder_as_it_is(check: Check, finished: Path) -> None:
    def state() -> dict[Path, Any]:
        paths = [finished, *sorted(finished.rglob("*"))]
        return {
            path: (path.stat().st_mtime_ns, path.is_file() and path.read_bytes()) for path in paths
        }

    before = state()
    found = read_findings(check("-r", str(finished), "trainer.epochs=4"))
    assert found["steps"].endswith("in 4 epochs")
    assert state() == before


def test_one_batch_of_each_loader_is_loaded(
    check: Check, probe_modules: dict[str, ModuleType]
) -> None:
    train = dataset_loader("Counting", batch_size=32, num_workers=0)
    valid = dataset_loader("Counting", batch_size=48, num_workers=0)
    read_findings(check(f"data_loader={train}", f"valid_data_loader={valid}"))
    assert len(probe_modules["data_loader"].REQUESTED) == 32 + 48


def test_an_iterable_dataset_may_have_no_length(check: Check) -> None:
    loader = "data_loader=" + dataset_loader("Endless", batch_size=16, shuffle="false")
    assert read_findings(check(loader))["steps"] == "as many as the data has"
    with_length = read_findings(check(loader, "trainer.len_epoch=7"))
    assert with_length["steps"] == "7 an epoch, 21 in 3 epochs"


def test_keys_that_nothing_reads_are_named(check: Check) -> None:
    ended = check("epochs=3", "extra.size=5")
    assert "Nothing reads these keys of the config: 'epochs', 'extra'" in ended.out


def test_an_error_of_a_metric_is_not_that_of_the_model(check: Check) -> None:
    ended = check("metrics=[accuracy, MeanSquaredError]")
    assert ended.status == 2
    assert "arch:" not in ended.err


def test_the_monitored_number_is_compared_with_those_of_the_batch(
    check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where only a run can show the names that a trainer logs."""
    monkeypatch.setattr("trainer.trainer.Trainer.logged_names", lambda *_: None)
    ended = check("trainer.monitor=max val_acuracy")
    assert ended.status == 2
    assert "trainer.monitor: the epoch returned no 'val_acuracy' (did you mean" in ended.err


SCHEDULE = "lr_scheduler={type: OneCycleLR, args: {max_lr: 0.1, total_steps: 2}}"


@pytest.mark.parametrize(
    "words",
    [
        ["-c", "digits_gan.yaml", "n_gpu=0"],
        ["-c", "breast_cancer_mlp.yaml"],
        ["data_loader.args.num_workers=2"],
        ["trainer.async_save=true"],
        ["trainer.tensorboard=true", "trainer.monitor=min val_loss", "trainer.early_stop=1"],
        ["data_loader.args.batch_size=1000", "trainer.epochs=1", SCHEDULE],
    ],
    ids=["a loop of its own", "tabular data", "workers", "async", "a monitor", "two steps"],
)
def test_a_check_works_for(check: Check, words: list[str]) -> None:
    read_findings(check(*words))


# -- as a program ----------------------------------------------------------------------------------


@pytest.fixture
def project(tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of this repository with FILES in it, and a folder for temporary files."""
    folder = copy_project(tmp_path)
    for name, text in FILES.items():
        (folder / name / "probe.py").write_text(text)
    (folder / "config" / "probe.yaml").write_text(CONFIG)
    monkeypatch.setenv("TMPDIR", str(temporary))
    return folder


def list_leftovers(project: Path, temporary: Path) -> list[str]:
    paths = [*temporary.rglob("*"), *(project / "saved").rglob("*")]
    return [path.name for path in paths if not path.is_dir()]  # sockets too


def test_an_error_ends_the_program_with_one_line_that_names_the_section(
    project: Path, temporary: Path
) -> None:
    command = ["train.py", "-c", "probe.yaml", "--check"]
    done = run(*command, "arch.type=probe.BrokenForward", cwd=project)
    assert (done.returncode, done.stdout) == (2, "")
    message = "arch: AttributeError: 'BrokenForward' object has no attribute"
    assert done.stderr.startswith(f"config/probe.yaml:3:1: {message}")

    (project / "model" / "broken.py").write_text("import nowhere_to_be_found\n")
    done = run(*command, "arch.type=broken.Net", cwd=project)
    assert (done.returncode, done.stdout, "Traceback" in done.stderr) == (2, "", False)
    first_line = done.stderr.splitlines()[0]
    assert re.search(r"model/broken\.py.*No module named 'nowhere_to_be_found'", first_line)
    assert list_leftovers(project, temporary) == [".gitkeep"]


def test_an_error_that_names_its_key_is_printed_unchanged(
    check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise UserError("its classes differ", key="data_loader")

    monkeypatch.setattr("trainer.trainer.prepare_loader", refuse)
    ended = check()
    assert (ended.status, ended.err.count("\n")) == (2, 1)
    assert ended.err.endswith(": data_loader: its classes differ\n")


def test_a_project_of_pytorch_template_can_be_checked(project: Path, temporary: Path) -> None:
    shutil.copytree(ROOT / "tests" / "fixtures" / "template_project", project, dirs_exist_ok=True)
    words = ["-d", "cpu", "data_loader.args.num_workers=2"]
    done = run("train.py", "-c", "config.json", "--check", *words, cwd=project)
    found = read_findings(Ended(done.returncode, done.stdout, done.stderr))
    assert found["model"] == "CloudNet on cpu"
    assert found["batch"] == "float32 (32, 2), int64 (32,)"
    # 301 points: 60 of them to validate on, and the last few dropped.
    assert found["steps"] == "7 an epoch, 21 in 3 epochs"
    assert list_leftovers(project, temporary) == [".gitkeep"]
