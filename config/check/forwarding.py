"""Finds the class or function to which a function forwards its ``**kwargs``."""

from __future__ import annotations

import ast
import builtins
import inspect
import sys
import textwrap
from functools import cache
from typing import Any, NamedTuple, TypeGuard

READERS = ("get", "pop", "setdefault")  # methods that name one key


class Forwarding(NamedTuple):
    """Where a function forwards its ``**kwargs``.

    Attributes:
        target: the class or function that gets them; None for the parent of a class.
        given: the parameters of the target that the function gives a value itself.
        names: the keys that the function reads itself.
    """

    target: Any
    given: tuple[str, ...]
    names: tuple[str, ...]


@cache
def find_forwarding(function: Any) -> Forwarding | None:
    """Reads in the code of a function where it forwards its ``**kwargs``.

    Args:
        function: a plain function, such as the ``__init__`` of a class.

    Returns:
        None if the code cannot be read, or uses them in any other way than to forward all of them
        once and to read single keys.
    """
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, SyntaxError, TypeError, ValueError):
        return None
    node = tree.body[0]
    if hasattr(function, "__wrapped__") or not isinstance(node, ast.FunctionDef):
        return None
    if node.args.kwarg is None:
        return None
    name = node.args.kwarg.arg
    uses = [item for item in ast.walk(node) if _is_name(item, name)]
    calls = [item for item in ast.walk(node) if _passes_on(item, name)]
    reads = list(filter(None, (_find_read(item, name) for item in ast.walk(node))))
    if len(calls) != 1 or len(uses) != len(calls) + len(reads):
        return None
    called = calls[0].func
    if _is_method_of_parent(called):
        return Forwarding(None, (), tuple(reads))
    target = _find_object(called, function)
    return target and Forwarding(target, _list_given(calls[0], target), tuple(reads))


def _is_name(node: Any, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def _passes_on(node: ast.AST, name: str) -> TypeGuard[ast.Call]:
    """Whether a call gets ``**name``."""
    passed = node.keywords if isinstance(node, ast.Call) else []
    return any(item.arg is None and _is_name(item.value, name) for item in passed)


def _find_read(node: ast.AST, name: str) -> str | None:
    """The key in ``name.pop("key")``, ``name["key"]`` or ``"key" in name``."""
    key: Any = None
    value: Any = None
    if isinstance(node, ast.Subscript):
        key, value = node.slice, node.value
    elif isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.In | ast.NotIn):
        key, value = node.left, node.comparators[0]
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
        is_reader = node.func.attr in READERS
        key, value = node.args[0] if is_reader else None, node.func.value
    is_text = isinstance(key, ast.Constant) and isinstance(key.value, str)
    return key.value if is_text and _is_name(value, name) else None


def _is_method_of_parent(function: ast.expr) -> bool:
    """Whether this is ``super().__init__``."""
    if not isinstance(function, ast.Attribute) or function.attr != "__init__":
        return False
    return isinstance(function.value, ast.Call) and _is_name(function.value.func, "super")


def _list_given(call: ast.Call, target: Any) -> tuple[str, ...]:
    """The parameters to which a call gives a value, besides ``**kwargs``."""
    named = tuple(item.arg for item in call.keywords if item.arg is not None)
    if any(isinstance(item, ast.Starred) for item in call.args):
        return named
    try:
        names = list(inspect.signature(target).parameters)
    except (TypeError, ValueError):  # written in C
        return named
    return (*names[: len(call.args)], *named)


def _find_object(expression: ast.expr, function: Any) -> Any:
    """The class or function that ``name`` or ``module.name`` means in the file of a function."""
    words = ast.unparse(expression).split(".")
    if not all(word.isidentifier() for word in words):
        return None
    known = vars(sys.modules.get(function.__module__, builtins))
    found = known.get(words[0])
    for word in words[1:]:
        found = getattr(found, word, None)
    is_readable = inspect.isclass(found) or inspect.isfunction(found)
    return found if is_readable and words[-1] != "__init__" else None
