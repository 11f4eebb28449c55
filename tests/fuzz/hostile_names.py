"""Names that no place of a config may take, and that no folder may have."""

from __future__ import annotations

from typing import Any

# Each stands in every slot at once (see ``everywhere``), and each slot has to refuse it.
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
    "code from GitHub through base": "base.checkpoint.torch.hub.load",
    "a download": "torch.hub.download_url_to_file",
    "a download of torchvision's": "torchvision.datasets.utils.download_and_extract_archive",
    "an address": "torchvision.datasets.utils.urllib.request.urlopen",
    "a pickle": "torch.load",
    "a pickle through utils": "base.checkpoint.pickle.loads",
    "a pickle through numpy": "sklearn.utils.joblib.load",
    "a script": "torch.jit.load",
    "a package": "torch.package.PackageImporter",
    "a shared library": "torch.ops.load_library",
    "a class of a library that is not there": "torch.classes.foo.bar",
    "a writer of files": "torchvision.io.write_file",
    "a writer of code": "torch.utils.data.datapipes.gen_pyi.gen_from_template",
    "a writer of utils": "utils.util.write_json",
    "a remover of folders": "logger.run_folder.shutil.rmtree",
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
    "a helper that a home imports": "downloading",
    "another helper that a home imports": "split_indices",
    "a list of models": "torchvision.models.list_models",
    "nothing": "",
    "a space": " ",
    "a dot": ".",
    "two dots": "..",
    "300 characters": "x" * 300,
    "100,000 characters": "x" * 100_000,
    "50,000 dots": "torch." + "a." * 50_000 + "a",
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

# As the name of an experiment, and as the id of a run.
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


def small(**changes: Any) -> Config:
    """A config that trains in a second, with ``changes`` at its top level."""
    return {
        "name": "hostile",
        "n_gpu": 0,
        "arch": {"type": "SmallConvNet", "args": {"width": 2}},
        "data_loader": {"type": "DigitsDataLoader", "args": {"batch_size": 512, "validation_split": 0.2}},
        "optimizer": {"type": "Adam", "args": {"lr": 0.01}},
        "loss": "cross_entropy",
        "metrics": ["accuracy"],
        "trainer": {"epochs": 1, "save_dir": "runs", "tensorboard": False},
    } | changes


SLOTS = ("arch", "optimizer", "lr_scheduler", "data_loader", "valid_data_loader")
INNER = ("dataset", "transform", "eval_transform", "sampler", "collate_fn")


def everywhere(name: str) -> Config:
    """A config with ``name`` as the type of everything."""
    part = {"type": name, "args": {"command": "touch executed"}}
    changes: Config = {slot: part for slot in SLOTS}
    changes |= {"loss": part, "metrics": [name, part]}
    changes["test_data_loader"] = {"type": "DatasetLoader", "args": {key: part for key in INNER}}
    changes["trainer"] = small()["trainer"] | {"type": name}
    return small(**changes)


def places() -> list[str]:
    """The key paths that ``everywhere`` puts the name to."""
    slots = [*SLOTS, "loss", "metrics.0", "metrics.1", "trainer", *(f"test_data_loader.args.{key}" for key in INNER)]
    return [f"{slot}.type: " for slot in slots]
