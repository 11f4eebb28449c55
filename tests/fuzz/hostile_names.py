"""The cases of hostile configs, and names that no component and no folder may have."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# A config has each of these in all slots (see ``fill_slots``), and each slot must refuse it.
TYPES = {
    "a shell": "os.system",
    "a shell through the standard library": "logging.os.system",
    "a shell through torch": "torch.os.system",
    "a shell through torch.hub": "torch.hub.os.system",
    "a shell through torch.serialization": "torch.serialization.os.system",
    "a shell through torch's DataLoader": "torch.utils.data.dataloader.os.system",
    "a shell through torchvision": "torchvision.datasets.utils.os.system",
    "a shell through torchmetrics": "torchmetrics.metric.functools.os.system",
    "a shell through scikit-learn": "sklearn.os.system",
    "a shell through model.py": "model.model.torch.os.system",
    "a shell through the loaders": "data_loader.data_loaders.torch.os.system",
    "a shell through utils": "utils.files.os.system",
    "eval": "builtins.eval",
    "exec through torch": "torch.fx.graph_module.builtins.exec",
    "import": "builtins.__import__",
    "import by name": "importlib.import_module",
    "import through torch": "torch.importlib.import_module",
    "a process": "subprocess.Popen",
    "a process through torch": "torch.utils.cpp_extension.subprocess.Popen",
    "a process of torch's": "torch.multiprocessing.Process",
    "processes of torch's": "torch.multiprocessing.spawn",
    "processes of elastic": "torch.distributed.elastic.multiprocessing.start_processes",
    "a launcher": "torch.distributed.run.main",
    "a command": "torch.utils.collect_env.run",
    "a compiler": "torch.utils.cpp_extension.load_inline",
    "code from GitHub": "torch.hub.load",
    "code from GitHub through model.py": "model.model.torch.hub.load",
    "code from GitHub through base": "base.checkpoint.file.torch.hub.load",
    "a download": "torch.hub.download_url_to_file",
    "a download of torchvision's": "torchvision.datasets.utils.download_and_extract_archive",
    "an address": "torchvision.datasets.utils.urllib.request.urlopen",
    "a pickle": "torch.load",
    "a pickle through utils": "base.checkpoint.file.pickle.loads",
    "a pickle through numpy": "sklearn.utils.joblib.load",
    "a script": "torch.jit.load",
    "a package": "torch.package.PackageImporter",
    "a shared library": "torch.ops.load_library",
    "a class of a library that is not there": "torch.classes.foo.bar",
    "a writer of files": "torchvision.io.write_file",
    "a writer of code": "torch.utils.data.datapipes.gen_pyi.gen_from_template",
    "a writer of utils": "utils.util.write_json",
    "a remover of folders": "base.run.shutil.rmtree",
    "the config's own parser": "config.parser.ConfigParser",
    "a method": "torch.nn.Linear.forward",
    "a method that loads": "torch.nn.Module.load_state_dict",
    "a method of a class's class": "torch.nn.Module.mro",
    "a list of classes": "torch.nn.Module.__subclasses__",
    "globals": "torch.nn.Linear.__init__.__globals__",
    "a dunder": "__import__",
    "a dunder of a home": "model.model.__builtins__.eval",
    "a private name": "torch._C._jit_get_operation",
    "a module": "torch.nn",
    "a library": "torch",
    "an enum": "torchvision.models.ResNet18_Weights",
    "a test of scikit-learn's": "sklearn.tests.test_docstrings.test_docstring",
    "a list of models": "torchvision.models.list_models",
    "nothing": "",
    "a space": " ",
    "a dot": ".",
    "two dots": "..",
    "300 characters": "x" * 300,
    "30,000 characters": "x" * 30_000,
    "10,000 dots": "torch." + "a." * 10_000 + "a",
    "a thousand modules in a ring": "torch" + ".functional.torch" * 1000,
    "a NUL": "torch.nn\0.Linear",
    "a title for the terminal": "\x1b]0;owned\x07Linear",
    "a clear screen": "\x1b[2J\x1b[HLinear",
    "a C1 control character": "\x9b2JLinear",
    "a newline": "Lin\near: all is well",
    "a carriage return": "Linear\rall is well",
    "a line separator": "Lin\u2028ear",
    "a right-to-left override": "\u202eraeniL",
    "an isolate": "\u2066Linear\u2069",
    "a zero-width space": "Lin\u200bear",
    "half a character": "Lin\ud800ear",
    "a look-alike": "Аdam",  # with a Cyrillic A
    "a path": "../../etc/passwd",
    "an absolute path": "/bin/sh",
    "a Windows path": "C:\\Windows\\System32\\cmd.exe",
    "a call": "os.system('touch executed')",
    "a lambda": "lambda: 0",
}

# For the name of an experiment, and for the id of a run.
FOLDERS = {
    "up": "../x",
    "up and up": "../../../outside/x",
    "two dots": "..",
    "one dot": ".",
    "absolute": "/tmp/x",
    "hidden": ".hidden",
    "a slash": "a/b",
    "a backslash": "..\\x",
    "a drive": "C:x",
    "an option": "-rf",
    "a NUL": "a\0b",
    "a newline at the end": "a\n",
    "300 characters": "x" * 300,
    "100,000 characters": "x" * 100_000,
    "a title for the terminal": "\x1b]0;owned\x07",
    "a right-to-left override": "a\u202egpj.exe",
    "a zero-width space": "a\u200b",
    "a full-width letter": "Ａ",
    "a space": " ",
    "a variable": "$HOME",
    "a star": "*",
}

Config = dict[str, Any]


def make_config(**changes: Any) -> Config:
    """Returns a config that trains in a second, with ``changes`` at its top level."""
    return {
        "name": "hostile",
        "n_gpu": 0,
        "arch": {"type": "SmallConvNet", "args": {"width": 2}},
        "data_loader": {
            "type": "DigitsDataLoader",
            "args": {"batch_size": 512, "validation_split": 0.2},
        },
        "optimizer": {"type": "Adam", "args": {"lr": 0.01}},
        "loss": "cross_entropy",
        "metrics": ["accuracy"],
        "trainer": {"epochs": 1, "save_dir": "runs", "tensorboard": False},
    } | changes


SLOTS = ("arch", "optimizer", "lr_scheduler", "data_loader")
INNER_SLOTS = ("dataset", "eval_transform", "sampler", "collate_fn")


def fill_slots(name: str) -> Config:
    """Returns a config with ``name`` as the type of every component."""
    component = {"type": name, "args": {"command": "touch executed"}}
    changes: Config = dict.fromkeys(SLOTS, component)
    changes |= {"loss": component, "metrics": [name, component]}
    inner = dict.fromkeys(INNER_SLOTS, component)
    changes["test_data_loader"] = {"type": "DatasetLoader", "args": inner}
    dataset = {"type": "FakeData", "args": {"transform": component}}
    changes["valid_data_loader"] = {"type": "DatasetLoader", "args": {"dataset": dataset}}
    changes["trainer"] = make_config()["trainer"] | {"type": name}
    return make_config(**changes)


def list_type_keys() -> list[str]:
    """Returns the key path of every slot in ``fill_slots``, as an error message starts."""
    slots = [
        *SLOTS,
        "loss",
        "metrics.0",
        "metrics.1",
        "trainer",
        "valid_data_loader.args.dataset.args.transform",
    ]
    slots += [f"test_data_loader.args.{key}" for key in INNER_SLOTS]
    return [f"{slot}.type: " for slot in slots]


JSON = json.dumps(make_config())
REST = JSON[1:]  # of a mapping that starts with another key
ESC, CLEAR, TITLE, BIDI = "\x1b", "\x1b[2J", "\x1b]0;owned\x07", "\u202e"


def do_nothing(_: Path) -> None:
    pass


@dataclass
class Case:
    """A hostile config.

    Attributes:
        name: of the case.
        files: contents by name, in the working folder. The first is the config, unless ``config``
            names another.
        config: the argument of ``-c``.
        words: the overrides.
        run_id: the argument of ``--run-id``.
        prepare: makes links and devices in the working folder.
        expected: texts that the error message must contain.
        may_pass: whether the check may accept it; its run must then do no harm.
        is_slow: whether reading it takes seconds.
    """

    name: str
    files: dict[str, str | bytes]
    config: str = ""
    words: tuple[str, ...] = ()
    run_id: str | None = None
    prepare: Callable[[Path], None] = do_nothing
    expected: tuple[str, ...] = ()
    may_pass: bool = False
    is_slow: bool = False


def make_case(name: str, content: Any, suffix: str = "", **options: Any) -> Case:
    """Returns a case of one file.

    Args:
        name: of the case.
        content: the text or the bytes of the file; or values, which become JSON.
        suffix: of the file; by default ``.yaml`` for a text.
        options: the other attributes of the case.
    """
    text = content if isinstance(content, str | bytes) else json.dumps(content)
    suffix = suffix or (".yaml" if isinstance(content, str) else ".json")
    return Case(name, {f"main{suffix}": text}, **options)


def make_link(path: str, target: str) -> Callable[[Path], None]:
    """Returns a function that makes a symbolic link at ``path`` in a folder."""

    def prepare(here: Path) -> None:
        (here / path).parent.mkdir(parents=True, exist_ok=True)
        (here / path).symlink_to(target)

    return prepare


def make_trainer_config(**options: Any) -> Config:
    return make_config(trainer=make_config()["trainer"] | options)
