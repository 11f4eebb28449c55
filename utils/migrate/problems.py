"""What only a person can decide, and what the project could gain: each with its file and line."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator

from utils.migrate.configs import Config, preflight
from utils.migrate.fingerprints import FOLDERS, bindings
from utils.migrate.needed_repairs import _stays, dotted
from utils.migrate.project import ROOT, File, Survey

# What libraries took away or changed since 2018, by full name; names that are called are told with what to write now.
REMOVED = {
    "collections.Iterable": "collections.abc.Iterable", "collections.Mapping": "collections.abc.Mapping",
    "collections.Sequence": "collections.abc.Sequence", "collections.Callable": "collections.abc.Callable",
    "torch._six": "Python's own str, int and math.inf", "torch.qr": "torch.linalg.qr",
    "torch.symeig": "torch.linalg.eigh",
    "torch.lstsq": "torch.linalg.lstsq", "torch.solve": "torch.linalg.solve", "torch.rfft": "torch.fft.rfft",
    "torch.irfft": "torch.fft.irfft", "torch.fft": "torch.fft.fft", "torch.ifft": "torch.fft.ifft",
    "torchvision.models.utils": "torch.hub",
    "torchvision.datasets.utils.makedir_exist_ok": "os.makedirs(…, exist_ok=True)",
    "torchtext": "a reader of your own: torchtext ended in 2024",
    "sklearn.externals.joblib": "joblib", "sklearn.externals": "joblib and six themselves",
    "sklearn.cross_validation": "sklearn.model_selection", "sklearn.metrics.jaccard_similarity_score": "jaccard_score",
    "scipy.misc.imread": "imageio.imread", "scipy.misc.imresize": "PIL.Image.resize",
    "scipy.misc.imsave": "imageio.imwrite",
    "skimage.measure.compare_ssim": "skimage.metrics.structural_similarity",
    "skimage.measure.compare_psnr": "skimage.metrics.peak_signal_noise_ratio",
    "PIL.Image.ANTIALIAS": "PIL.Image.LANCZOS", "pandas.Panel": "a dict of frames",
    "matplotlib.pyplot.cm.get_cmap": "matplotlib.colormaps", "matplotlib.cm.get_cmap": "matplotlib.colormaps",
    "numpy.lib.function_base": "numpy itself",
    "inspect.getargspec": "inspect.getfullargspec", "time.clock": "time.perf_counter", "imp": "importlib",
    "distutils": "setuptools or shutil", "string.letters": "string.ascii_letters",
    "pkg_resources": "importlib.metadata",
}  # fmt: skip
# Keywords that a library no longer takes: the end of the called name, and what to do.
KEYWORDS = {
    ("OneHotEncoder", "sparse"): "sparse_output", ("TSNE", "n_iter"): "max_iter",
    ("read_csv", "error_bad_lines"): "on_bad_lines='skip'", ("to_csv", "line_terminator"): "lineterminator",
    ("read_csv", "delim_whitespace"): "sep=r'\\s+'", ("read_csv", "squeeze"): ".squeeze('columns')",
}  # fmt: skip
SCHEDULERS = {
    "StepLR", "MultiStepLR", "ExponentialLR", "CosineAnnealingLR", "ReduceLROnPlateau", "LambdaLR", "OneCycleLR",
    "CyclicLR", "CosineAnnealingWarmRestarts", "MultiplicativeLR", "PolynomialLR", "LinearLR", "ConstantLR",
}  # fmt: skip


def for_a_person(survey: Survey, configs: list[Config]) -> list[str]:
    """``file:line: what, what to do``, for all that the command does not mend."""
    found = [f"{path}:{line}: does not parse ({why}); it is kept in aside/, and nothing can import it from there"
             for path, (line, why) in survey.unread.items()]  # fmt: skip
    for file in survey.kept:
        rows = sorted(set(_of_file(file)))
        found += [f"{file.path}:{line}: {text}" for line, text in rows]
    for config in configs:
        if survey.staying("train.py") is None:
            found += preflight(survey.folder, config)
        for name, section in config.values.items():
            verbose = isinstance(section, dict) and "verbose" in (section.get("args") or {})
            if verbose and isinstance(section.get("type"), str) and section["type"] in SCHEDULERS:
                found.append(f"{config.path}: {name}.args.verbose: torch took it away; delete it")
    return found


def _of_file(file: File) -> Iterator[tuple[int, str]]:
    bound = bindings(file.tree)
    for node in _stays(file):
        line = getattr(node, "lineno", 0)
        if isinstance(node, ast.Call):
            yield from ((line, text) for text in _of_call(node, bound))
        elif isinstance(node, ast.Attribute):
            name = dotted(node, bound)
            if name in REMOVED and name != "torch.fft":
                yield line, f"{name} is gone; write {REMOVED[name]}"
        elif isinstance(node, ast.Import | ast.ImportFrom):
            module = getattr(node, "module", None) or ""
            for alias in node.names if not getattr(node, "level", 0) else ():
                full = f"{module}.{alias.name}" if module else alias.name
                names = [
                    name
                    for name in (full, module, full.split(".")[0])
                    if name in REMOVED and name != "torch.fft"
                ]
                yield from ((line, f"{name} is gone; write {REMOVED[name]}") for name in names[:1])


def _of_call(node: ast.Call, bound: dict[str, str]) -> Iterator[str]:
    name = dotted(node.func, bound)
    attribute = node.func.attr if isinstance(node.func, ast.Attribute) else ""
    called = attribute or (node.func.id if isinstance(node.func, ast.Name) else "")
    keywords = {key.arg for key in node.keywords}
    if attribute == "cuda" and not node.args and not keywords and name != "torch.cuda":
        yield f"`{ast.unparse(node)[-60:]}` needs an NVIDIA card, and takes the first; write `.to(device)`"
    if name in ("torch.fft", "torch.ifft", "torch.rfft"):
        yield f"{name}(…) is gone; write {REMOVED[name]}"
    if called in SCHEDULERS and "verbose" in keywords:
        yield f"{called} takes no `verbose` any more; delete it"
    if (
        attribute == "append"
        and name == ""
        and any(key.arg == "ignore_index" for key in node.keywords)
    ):
        yield "DataFrame.append is gone; write pandas.concat([…])"
    if name == "yaml.load" and len(node.args) == 1 and not keywords:
        yield "yaml.load needs a Loader; write yaml.safe_load"
    for (function, keyword), now in KEYWORDS.items():
        if called == function and keyword in keywords:
            yield f"{function} takes no `{keyword}` any more; write {now}"
    if (
        name == "torch.save"
        and node.args
        and ast.unparse(node.args[0]) in ("model", "self.model", "net")
    ):
        yield "a whole model is saved, which loads only unsafely; save its `state_dict()`"


def needs(survey: Survey) -> list[str]:
    """Top-level modules that the project imports, and neither it, nor Python, nor ours brings."""
    ours = {"numpy", "torch", "torchvision", "torchmetrics", "sklearn", "tensorboard", "tqdm", "wandb", "yaml",
            "safetensors", "pytest", "repairs", *FOLDERS, "config"}  # fmt: skip
    own = {
        part
        for path in (*survey.files, *survey.unread)
        for part in path.removesuffix(".py").split("/")
    }
    found = set()
    for file in survey.kept:
        for node in ast.walk(file.tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += (
                [node.module]
                if isinstance(node, ast.ImportFrom) and node.module and not node.level
                else []
            )
            found |= {name.split(".")[0] for name in names}
    return sorted(
        found - ours - own - set(sys.stdlib_module_names) - {path.name for path in ROOT.iterdir()}
    )


def steps(survey: Survey) -> list[str]:
    """The lines of kept training loops that ``self.update`` stands for."""
    found = []
    for file in survey.kept:
        for node in _stays(file):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                text = ast.unparse(node)
                if node.func.attr == "backward" and "loss" in text:
                    found.append(
                        f"{file.path}:{node.lineno}: `{text}` -> `self.update.backward({ast.unparse(node.func.value)})`"
                    )
                elif text.endswith("optimizer.step()"):
                    found.append(f"{file.path}:{node.lineno}: `{text}` -> `self.update.step()`")
    return found
