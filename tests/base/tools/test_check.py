"""``train.py --check``: everything tried on one batch, the bill, and nothing left behind."""

from __future__ import annotations

import linecache
import logging
import re
import runpy
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from logger.logger import close_files
from tests.helpers import ROOT, copy_project, run

Check = Callable[..., tuple[int, str, str]]

CONFIG = """\
name: probe
n_gpu: 0
arch: {type: SmallConvNet, args: {width: 4}}
data_loader: {type: DigitsDataLoader, args: {batch_size: 128, validation_split: 0.2}}
optimizer: {type: Adam, args: {lr: 0.01}}
loss: cross_entropy
metrics: [accuracy, top_k_acc]
trainer: {epochs: 3}
"""
FILES = {  # a user's own
    "data_loader": '''
import torch
from torch.utils.data import Dataset, IterableDataset
IMAGE, ASKED = torch.zeros(1, 8, 8), []
class Counting(Dataset):
    def __len__(self):
        return 1000
    def __getitem__(self, index):
        ASKED.append(index)
        return IMAGE, index % 10
class Endless(IterableDataset):
    def __iter__(self):
        while True:
            yield IMAGE, 3
class Broken(Counting):
    def __getitem__(self, index):
        return {}["of mine"]
class BrokenTransform:
    def __call__(self, image):
        raise ValueError("of mine")
''',
    "model": '''
import builtins
from base import BaseModel
from model.model import SmallConvNet
class BrokenInit(BaseModel):
    def __init__(self, error: str):
        raise getattr(builtins, error)("of mine")
class BrokenForward(SmallConvNet):
    def forward(self, x):
        return self.undefined(x)
class Frozen(SmallConvNet):
    def __init__(self):
        super().__init__(width=4)
        next(self.parameters()).requires_grad_(False)
def broken_loss(output, target):
    raise RuntimeError("of mine")
def broken_metric(output, target):
    return 1 / 0
''',
    "trainer": '''
from trainer.trainer import Trainer
class Broken(Trainer):
    def train_step(self, batch):
        raise AttributeError("of mine")
''',
}  # fmt: skip


@pytest.fixture(autouse=True)
def _loggers_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    close_files()
    root.handlers = handlers
    root.setLevel(level)
    logging.captureWarnings(False)


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> dict[str, ModuleType]:
    """FILES as ``FOLDER/probe.py``, without writing them where other tests would see them."""
    modules = {}
    for folder, text in FILES.items():
        path, name = str(ROOT / folder / "probe.py"), f"{folder}.probe"
        modules[folder] = ModuleType(name)
        monkeypatch.setitem(sys.modules, name, modules[folder])
        monkeypatch.setitem(
            linecache.cache, path, (len(text), None, text.splitlines(keepends=True), path)
        )
        exec(compile(text, path, "exec"), vars(modules[folder]))
    return modules


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A folder with a short path: a socket in it, by which workers send their data, has at most 107 characters."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@pytest.fixture
def check(
    tmp_path: Path,
    temporary: Path,
    own: Any,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> Check:
    """Runs ``train.py --check`` on CONFIG in this process; gives status, output and errors. Nothing may be left."""
    monkeypatch.chdir(ROOT)
    (tmp_path / "probe.yaml").write_text(CONFIG)

    def call(*words: str) -> tuple[int, str, str]:
        all_words = (
            [*words] if {"-c", "-r"} & {*words} else ["-c", str(tmp_path / "probe.yaml"), *words]
        )
        all_words += [] if "-r" in words else [f"trainer.save_dir={tmp_path / 'saved'}"]
        status = 0
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", ["train.py", "--check", *all_words])
            patch.setattr(tempfile, "tempdir", str(temporary))
            try:
                runpy.run_path(str(ROOT / "train.py"), run_name="__main__")
            except SystemExit as end:
                status = end.code  # type: ignore[assignment]
        assert [path.name for path in temporary.iterdir() if "torch" not in path.name] == []
        assert "-r" in words or not (tmp_path / "saved").exists()
        return (status, *capfd.readouterr())

    return call


def bill(result: tuple[int, str, str]) -> dict[str, str]:
    """What the bill says, by name."""
    status, out, err = result
    assert (status, err, "All of it works:\n" in out) == (0, "", True)
    return dict(re.findall(r"^  (\w+) +(.*)$", out, re.MULTILINE))


def test_the_bill(check: Check) -> None:
    told = bill(check("arch={type: probe.Frozen}"))
    assert told["model"] == "Frozen on cpu"
    assert told["parameters"] == "1,650 in all, 1,614 trainable, 36 frozen"
    assert told["batch"] == "float32 (128, 1, 8, 8), int64 (128,)"
    assert told["output"] == "float32 (128, 10)"
    assert told["steps"] == "9 an epoch, 27 in 3 epochs"  # 1151 images to train on
    assert re.fullmatch(r"\d+\.\d{4} a batch, without loading it", told["seconds"])


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
def test_steps(check: Check, words: list[str], steps: str) -> None:
    told = bill(check(*words))
    assert told["steps"] == steps
    assert not told["seconds"].startswith("0.0000")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of one epoch."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "probe.yaml").write_text(CONFIG)
    words = [
        "arch.args.width=64",
        "optimizer.type=AdamW",
        "trainer.ema_decay=0.9",
        f"trainer.save_dir={folder}",
    ]
    done = run("train.py", "-c", folder / "probe.yaml", "--run-id", "r", "trainer.epochs=1", *words)
    assert done.returncode == 0, done.stderr
    return folder / "probe" / "r"


def test_the_checkpoint_is_as_large_as_the_run_s_first(check: Check, finished: Path) -> None:
    told = float(bill(check("-c", str(finished / "config.json")))["checkpoint"].removesuffix(" MB"))
    assert told == pytest.approx((finished / "checkpoint-epoch1.pt").stat().st_size / 1e6, rel=0.1)


def test_a_resumed_run_is_not_touched(check: Check, finished: Path) -> None:
    def state() -> dict[Path, Any]:
        paths = [finished, *sorted(finished.rglob("*"))]
        return {
            path: (path.stat().st_mtime_ns, path.is_file() and path.read_bytes()) for path in paths
        }

    before = state()
    assert bill(check("-r", str(finished), "trainer.epochs=4"))["steps"].endswith("in 4 epochs")
    assert state() == before


def test_one_batch_of_each_is_loaded(check: Check, own: dict[str, ModuleType]) -> None:
    loader = "{type: DatasetLoader, args: {dataset: {type: probe.Counting}, batch_size: %d, num_workers: 0}}"
    bill(check(f"data_loader={loader % 32}", f"valid_data_loader={loader % 48}"))
    assert len(own["data_loader"].ASKED) == 32 + 48


def test_the_bill_of_an_iterable_dataset_of_unknown_length(check: Check) -> None:
    loader = "{type: DatasetLoader, args: {dataset: {type: probe.Endless}, batch_size: 16, shuffle: false}}"
    assert bill(check(f"data_loader={loader}"))["steps"] == "as many as the data has"
    assert (
        bill(check(f"data_loader={loader}", "trainer.len_epoch=7"))["steps"]
        == "7 an epoch, 21 in 3 epochs"
    )


@pytest.mark.parametrize(
    "words",
    [
        ["-c", "digits_gan.yaml", "n_gpu=0"],
        ["-c", "breast_cancer_mlp.yaml"],
        ["data_loader.args.num_workers=2"],
        ["trainer.tensorboard=true", "trainer.monitor=min val_loss", "trainer.early_stop=1"],
        ["data_loader.args.batch_size=1000", "trainer.epochs=1", "lr_scheduler={type: OneCycleLR, args: "
         "{max_lr: 0.1, total_steps: 2}}"],
    ],
    ids=lambda words: words[-1][:40],
)  # fmt: skip
def test_it_works_for(check: Check, words: list[str]) -> None:
    bill(check(*words))


BROKEN_DATA = (
    "{type: DatasetLoader, args: {dataset: {type: probe.Broken}, batch_size: 32, num_workers: %d}}"
)
BROKEN_TRANSFORM = "{type: FakeData, args: {size: 99, transform: {type: probe.BrokenTransform}}}"


@pytest.mark.parametrize(
    ("section", "place", "message", "folder"),
    [
        ("arch: {type: probe.BrokenInit, args: {error: AttributeError}}", "arch", "AttributeError: of mine", "model"),
        ("arch: {type: probe.BrokenInit, args: {error: KeyError}}", "arch", "KeyError: 'of mine'", "model"),
        ("arch: {type: probe.BrokenInit, args: {error: RuntimeError}}", "arch", "RuntimeError: of mine", "model"),
        ("arch: {type: probe.BrokenInit, args: {error: ZeroDivisionError}}", "arch", "ZeroDivisionError: of", "model"),
        ("arch: {type: probe.BrokenForward}", "arch", "AttributeError: 'BrokenForward' object has no attr", "model"),
        ("arch: {type: resnet18}", "arch", "RuntimeError: Given groups=1, weight of size", "trainer"),
        (f"data_loader: {BROKEN_DATA % 0}", "data_loader", "KeyError: 'of mine'", "data_loader"),
        (f"data_loader: {BROKEN_DATA % 2}", "data_loader", "KeyError: ", "data_loader"),
        (f"valid_data_loader: {BROKEN_DATA % 0}", "valid_data_loader", "KeyError: 'of mine'", "data_loader"),
        (f"data_loader: {{type: DatasetLoader, args: {{dataset: {BROKEN_TRANSFORM}}}}}", "data_loader",
         "ValueError: of mine", "data_loader"),
        ("loss: probe.broken_loss", "loss", "RuntimeError: of mine", "model"),
        ("metrics: [accuracy, probe.broken_metric]", "metrics.1", "ZeroDivisionError: division by zero", "model"),
        ("trainer: {epochs: 3, type: probe.Broken}", "trainer", "AttributeError: of mine", "trainer"),
    ],
    ids=lambda value: value if ": {" in value else "",
)  # fmt: skip
def test_an_error_names_the_place_and_the_user_s_own_lines(
    check: Check, tmp_path: Path, section: str, place: str, message: str, folder: str
) -> None:
    key = section.partition(":")[0]
    sections = [line for line in CONFIG.splitlines() if not line.startswith(f"{key}:")]
    if key == "valid_data_loader":  # which takes the place of the split
        sections = [line.replace(", validation_split: 0.2", "") for line in sections]
    (tmp_path / "probe.yaml").write_text("\n".join([*sections, section]))
    column = section.index("probe.broken_metric") + 1 if place == "metrics.1" else 1
    status, out, err = check()
    first, *frames = err.splitlines()
    assert (status, out, "Traceback" in err) == (2, "", False)
    assert first.startswith(
        f"{tmp_path / 'probe.yaml'}:{len(sections) + 1}:{column}: {place}: {message}"
    )
    assert f"  {folder}/" in err
    assert all(
        re.match(r"  (model|data_loader|trainer)/\w+\.py:\d+ in \w+: \S", line) for line in frames
    ), err


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of this repository with FILES in it, and a folder for temporary files."""
    folder = copy_project(tmp_path)
    for name, text in FILES.items():
        (folder / name / "probe.py").write_text(text)
    (folder / "config" / "probe.yaml").write_text(CONFIG)
    (folder / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(folder / "tmp"))
    return folder


def left_in(project: Path) -> list[str]:
    return [
        path.name
        for name in ("tmp", "saved")
        for path in (project / name).rglob("*")
        if path.is_file()
    ]


def test_as_a_program(project: Path) -> None:
    command = ["train.py", "-c", "probe.yaml", "--check"]
    done = run(*command, cwd=project)
    bill((done.returncode, done.stdout, done.stderr))
    done = run(*command, "arch.type=probe.BrokenForward", cwd=project)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(
        "config/probe.yaml:3:1: arch: AttributeError: 'BrokenForward' object has no attribute"
    )

    (project / "model" / "broken.py").write_text("import nowhere_to_be_found\n")
    done = run(*command, "arch.type=broken.Net", cwd=project)
    assert (done.returncode, done.stdout, "Traceback" in done.stderr) == (2, "", False)
    assert re.search(
        r"model/broken\.py.*No module named 'nowhere_to_be_found'", done.stderr.splitlines()[0]
    )
    assert left_in(project) == [".gitkeep"]


def test_a_project_of_pytorch_template(project: Path) -> None:
    shutil.copytree(ROOT / "tests" / "fixtures" / "template_project", project, dirs_exist_ok=True)
    done = run("train.py", "-c", "config.json", "--check", "-d", "cpu", cwd=project)
    told = bill((done.returncode, done.stdout, done.stderr))
    assert told["model"] == "CloudNet on cpu"
    assert told["batch"] == "float32 (32, 2), int64 (32,)"
    assert (
        told["steps"] == "7 an epoch, 21 in 3 epochs"
    )  # 301 points, 60 of them to validate on, the last few dropped
    assert left_in(project) == [".gitkeep"]
