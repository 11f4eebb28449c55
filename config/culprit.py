"""Says to which part of a config an error of its classes and functions belongs."""

from __future__ import annotations

import contextlib
import inspect
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from traceback import walk_tb
from typing import Any, NamedTuple

from config.check.project import FRAMEWORK, ROOT, is_user_file
from config.read.tree import Finding, Keys, Tree, join_keys, split_keys
from utils.errors import text_of

# Calls of the framework into components of the config: file, function, key of the config.
CALLS = {("base/loop/evaluate.py", "forward"): "arch"}
LOADER_FILES = ("base/data/worker.py", "base/data/stream_batches.py")
WORKER_FRAME = re.compile(r'File "(.+)", line (\d+), in (\S+)')
VALUES_SHOWN = 4
INPLACE = "modified by an inplace operation"  # in an error of a backward pass
INPLACE_HINT = (
    "the backward pass needs a value that the model or the loss has changed in place, as `x += 1`"
    " does: write `x = x + 1`"
)
TO_SEE_LINE = (
    "to see its line, write `torch.autograd.set_detect_anomaly(True)` below the imports of the"
    " model's file"
)


class Call(NamedTuple):
    """One call of a traceback.

    Attributes:
        path: of the file.
        line: of the file, counted from 1.
        function: its name.
        values: its arguments; empty in another process.
        section: of the config that has made a reader of samples.
        is_of_cell: whether a cell of a notebook, or a script that calls ``run``, defines it.
    """

    path: Path
    line: int
    function: str
    values: Mapping[str, Any]
    section: str = ""
    is_of_cell: bool = False

    @property
    def is_of_user(self) -> bool:
        """Whether it is code in the user's own folders, or in a cell."""
        return self.is_of_cell or is_user_file(self.path)

    @property
    def location(self) -> str:
        """The file and the line, as ``model/model.py:7``."""
        if not self.is_of_cell:
            return f"{self.path.relative_to(ROOT)}:{self.line}"
        return f"{self.path.name}:{self.line}" if self.path.is_file() else f"line {self.line}"


def add_culprit(error: BaseException, tree: Tree, resolved: Mapping[Keys, Any]) -> None:
    """Adds the line of ``name_culprit`` to an error, which keeps its traceback."""
    with contextlib.suppress(Exception):  # objects of the user may do anything
        line = name_culprit(error, tree, resolved)
        if line is None and INPLACE in text_of(error):
            from torch import is_anomaly_enabled

            shown = "the warning above has the line that computed it"
            line = f"{INPLACE_HINT}; {shown if is_anomaly_enabled() else TO_SEE_LINE}"
        if line is not None and line not in getattr(error, "__notes__", ()):
            error.add_note(line)


def name_culprit(error: BaseException, tree: Tree, resolved: Mapping[Keys, Any]) -> str | None:
    """Returns a line with the component that failed, the user's line in it, and its arguments.

    Args:
        error: with the traceback.
        tree: the config.
        resolved: for each component of the config, its class or function.

    Returns:
        The line; None if the error is not in the code of a component.
    """
    frames = list(_list_frames(error))
    for number, frame in enumerate(frames):
        keys = [keys for keys, found in resolved.items() if _is_code_of(found, frame)]
        if not keys and _is_of_framework(frame.path):
            keys = _find_caller(frame, frames[number:])
            if not keys:
                return _locate(frames[:number])
        if keys:
            section = split_keys(_find_section(frames[number:]))
            keys = [path for path in keys if path[: len(section)] == section] or keys
            return _format_line(tree, keys, resolved, frames[: number + 1])
    return None


def _locate(frames: list[Call]) -> str | None:
    """A line about code of the user that belongs to no component, as the backward of a function."""
    call = _find_user_call(frames)
    if call is None:
        return None
    shown = _describe_arguments(call.values)
    return f"{call.location}: {call.function} failed{shown}"


def _find_user_call(frames: list[Call]) -> Call | None:
    """The innermost call of the user's own code."""
    return next((frame for frame in frames if frame.is_of_user), None)


def _list_frames(error: BaseException) -> Iterator[Call]:
    """The calls in which ``error`` was raised, the innermost first, and a worker's before ours."""
    for path, line, function in reversed(WORKER_FRAME.findall(text_of(error))):
        yield Call(Path(path), int(line), function, {})
    for frame, line in reversed(list(walk_tb(error.__traceback__))):
        code = frame.f_code
        names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        values = {name: frame.f_locals[name] for name in names if name in frame.f_locals}
        path = Path(code.co_filename).absolute()
        owner = values.pop("self", None)
        is_reader = path.parent == ROOT / FRAMEWORK / "data"
        section = getattr(owner, "section", "") if is_reader else ""
        is_of_program = path.is_relative_to(ROOT) and not code.co_filename.startswith("<")
        is_of_cell = frame.f_globals.get("__name__") == "__main__" and not is_of_program
        yield Call(path, line, code.co_name, values, section, is_of_cell)


def _is_of_framework(path: Path) -> bool:
    return path.is_relative_to(ROOT / FRAMEWORK) or path == ROOT / "trainer" / "trainer.py"


def _is_code_of(found: Any, frame: Call) -> bool:
    """Whether a call is that of a function, or of a method of a class or its project's parents."""
    for item in inspect.getmro(found) if inspect.isclass(found) else (inspect.unwrap(found),):
        try:
            path = Path(inspect.getfile(item)).absolute()
            is_parent = item is not found and inspect.isclass(found)
            if path != frame.path or (is_parent and not is_user_file(path)):
                continue
            lines, first = inspect.getsourcelines(item)
        except (OSError, TypeError):  # written in C
            continue
        if item.__module__ != "trainer.trainer" and first <= frame.line < first + len(lines):
            return True
    return False


def _find_caller(frame: Call, outer: list[Call]) -> list[Keys]:
    """The key of what a function of the framework has called; ``outer`` begins with its frame."""
    file = frame.path.relative_to(ROOT).as_posix()
    key = _find_section(outer) if file in LOADER_FILES else CALLS.get((file, frame.function))
    return [split_keys(key)] if key else []


def _find_section(frames: list[Call]) -> str:
    return next((frame.section for frame in frames if frame.section), "")


def _format_line(
    tree: Tree, keys: list[Keys], resolved: Mapping[Keys, Any], frames: list[Call]
) -> str:
    """Describes the failure of the components at ``keys``, which share a class."""
    found = resolved.get(keys[0])
    name = getattr(found, "__name__", "the code called from here")
    call = _find_user_call(frames)
    location = "" if call is None else f" at {call.location}"
    shown = _describe_arguments(frames[-1].values if call is None else call.values)
    others = "".join(f", or {join_keys(other)}" for other in keys[1:])
    message = f"{name} failed{location}{shown}{others}"
    return str(Finding(tree.mark(keys[0]), keys[0], message))


def _describe_arguments(values: Mapping[str, Any]) -> str:
    from utils.describe import describe_values  # imports torch

    kinds = (int, list, tuple, Mapping)
    shown = [
        f"{name}: {describe_values(value)}"
        for name, value in values.items()
        if not isinstance(value, bool) and (isinstance(value, kinds) or hasattr(value, "shape"))
    ]
    return f", with {', '.join(shown[:VALUES_SHOWN])}" if shown else ""
