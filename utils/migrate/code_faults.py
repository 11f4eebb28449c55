"""Finds calls that fail today, need an NVIDIA GPU, or wait for input."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from utils.migrate.library_changes import METRICS_WITH_TASK
from utils.migrate.needed_repairs import get_full_name, walk_kept_code
from utils.migrate.project import File

MAX_SHOWN_CHARS = 60  # of a line of code
DEBUGGERS = ("pdb.set_trace", "ipdb.set_trace", "IPython.embed")
FRAME_MAKERS = ("DataFrame", "Series", "concat", "merge", "read_")  # beginnings of pandas' names
Scope = ast.Module | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def find_gpu_calls(file: File, bindings: dict[str, str]) -> Iterator[tuple[int, str]]:
    """Yields calls that need an NVIDIA GPU, unless a condition on the GPU is around them."""
    guarded = _list_guarded_nodes(file)
    for node in walk_kept_code(file):
        if not isinstance(node, ast.Call) or id(node) in guarded:
            continue
        code = _shorten(ast.unparse(node))
        method = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        full_name = get_full_name(node.func, bindings)
        if method == "cuda" and full_name != "torch.cuda":
            where = "" if node.args or node.keywords else " and always uses the current one"
            yield node.lineno, f"`{code}` needs an NVIDIA GPU{where}; use `.to(device)`"
        elif _names_cuda(node, method, full_name):
            yield node.lineno, f"`{code}` needs an NVIDIA GPU; use the `device` of the config"


def _names_cuda(node: ast.Call, method: str, full_name: str) -> bool:
    """Whether a call gets the text "cuda" as the device."""
    devices = [key.value for key in node.keywords if key.arg == "device"]
    if method == "to" or full_name == "torch.device":
        devices += node.args[:1]
    texts = [item.value for item in devices if isinstance(item, ast.Constant)]
    return any(isinstance(text, str) and text.split(":")[0] == "cuda" for text in texts)


def _list_guarded_nodes(file: File) -> set[int]:
    """Returns the ids of all nodes in a statement or expression with a condition on the GPU."""
    guarded: set[int] = set()
    for node in walk_kept_code(file):
        if isinstance(node, ast.If | ast.IfExp | ast.While):
            test = node.test
        elif isinstance(node, ast.BoolOp):
            test = node.values[0]
        else:
            continue
        code = ast.unparse(test).lower()
        if ("cuda" in code or "gpu" in code or "device" in code) and ".cuda()" not in code:
            guarded |= {id(part) for part in ast.walk(node)}
    return guarded


def find_call_faults(node: ast.Call, bindings: dict[str, str]) -> Iterator[str]:
    """Yields what is wrong with a call whatever is around it."""
    full_name = get_full_name(node.func, bindings)
    keywords = {key.arg: key.value for key in node.keywords}
    is_breakpoint = isinstance(node.func, ast.Name) and node.func.id == "breakpoint"
    if full_name in DEBUGGERS or is_breakpoint:
        yield f"`{_shorten(ast.unparse(node))}` stops the program and waits for input; delete it"
    name = full_name.rpartition(".")[2]
    if full_name.startswith("torchmetrics.") and name in METRICS_WITH_TASK:
        is_given = "task" in keywords or None in keywords
        has_text = any(isinstance(part, ast.Constant) for part in node.args[:3])
        if not is_given and not has_text:
            task = "task='multiclass', num_classes=N (or task='binary', task='multilabel')"
            yield f"{full_name} needs `task` since torchmetrics 0.11; add {task}"
    pretrained = keywords.get("pretrained")
    is_on = isinstance(pretrained, ast.Constant) and pretrained.value is True
    if is_on and "torchvision" in _find_origin(node.func, bindings):
        yield (
            "torchvision replaces `pretrained=True`, which it warns about; use "
            "`weights='IMAGENET1K_V1'` or another name of weights"
        )


def _find_origin(function: ast.expr, bindings: dict[str, str]) -> str:
    """The module of a called function, also of ``getattr(models, name)``."""
    if isinstance(function, ast.Subscript):  # models.__dict__[name]
        function = function.value
    if isinstance(function, ast.Call) and ast.unparse(function.func) == "getattr":
        function = function.args[0]
    return get_full_name(function, bindings)


def find_frame_appends(file: File, bindings: dict[str, str]) -> Iterator[tuple[int, str]]:
    """Yields calls of ``append`` of a DataFrame: a name that pandas made in the same function."""
    scopes: list[Scope] = [file.tree]
    kept = list(walk_kept_code(file))
    scopes += [node for node in kept if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    kept_ids = {id(node) for node in kept}
    for scope in scopes:
        frames = _list_frames(scope, bindings)
        for node in ast.walk(scope):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            is_append = node.func.attr == "append" and id(node) in kept_ids
            has_index = any(key.arg == "ignore_index" for key in node.keywords)
            if is_append and (has_index or ast.unparse(node.func.value) in frames):
                yield node.lineno, "DataFrame.append was removed; use pandas.concat([…])"


def _list_frames(scope: Scope, bindings: dict[str, str]) -> set[str]:
    """Returns the variables of a function, or attributes of a class, that pandas made."""
    frames, others = set(), set()
    for node in ast.walk(scope) if not isinstance(scope, ast.Module) else scope.body:
        if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
            continue
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        names = {ast.unparse(target) for target in targets}
        if isinstance(scope, ast.ClassDef):
            names = {name for name in names if name.startswith("self.")}
        call = node.value.func if isinstance(node.value, ast.Call) else None
        library, _, function = get_full_name(call, bindings).partition(".") if call else ("",) * 3
        if library == "pandas" and function.startswith(FRAME_MAKERS):
            frames |= names
        elif isinstance(node.value, ast.List | ast.ListComp):
            others |= names
    return frames - others


def find_array_conversions(file: File, bindings: dict[str, str]) -> Iterator[tuple[int, str]]:
    """Yields ``int(…)`` and ``float(…)`` of ``np.random.rand(1)`` or of a name computed from it."""
    for scope in walk_kept_code(file):
        if not isinstance(scope, ast.FunctionDef):
            continue
        nodes = list(ast.walk(scope))
        assignments = sorted(
            (
                node.lineno,
                ast.unparse(node.targets[0]),
                _has_one_random_number(node.value, bindings),
            )
            for node in nodes
            if isinstance(node, ast.Assign)
        )
        for node in nodes:
            if not isinstance(node, ast.Call) or ast.unparse(node.func) not in ("int", "float"):
                continue
            latest = {name: is_it for line, name, is_it in assignments if line < node.lineno}
            arrays = {name for name, is_it in latest.items() if is_it}
            inner = [part for argument in node.args for part in ast.walk(argument)]
            is_named = any(isinstance(part, ast.Name) and part.id in arrays for part in inner)
            is_scalar = any(isinstance(part, ast.Subscript) for part in inner)
            is_array = is_named or any(_has_one_random_number(part, bindings) for part in node.args)
            if is_array and not is_scalar and ".item()" not in ast.unparse(node):
                code = _shorten(ast.unparse(node))
                yield (
                    node.lineno,
                    f"NumPy refuses `{code}` of an array since 2.4; use `np.random.rand()` for "
                    "`np.random.rand(1)`",
                )


def _has_one_random_number(expression: ast.expr, bindings: dict[str, str]) -> bool:
    """Whether ``np.random.rand(1)`` is in an expression and nothing takes its number out."""
    if not isinstance(expression, ast.BinOp | ast.Call):
        return False
    takers = ("[0]", ".item()")
    code = ast.unparse(expression)
    return any(
        isinstance(node, ast.Call)
        and get_full_name(node.func, bindings) == "numpy.random.rand"
        and [ast.unparse(argument) for argument in node.args] == ["1"]
        and not any(f"{ast.unparse(node)}{taker}" in code for taker in takers)
        for node in ast.walk(expression)
    )


def _shorten(code: str) -> str:
    return code if len(code) <= MAX_SHOWN_CHARS else f"…{code[-MAX_SHOWN_CHARS:]}"
