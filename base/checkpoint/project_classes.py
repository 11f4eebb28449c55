"""Which classes and functions of a project may be used for the objects of an old checkpoint.

Only what the project has imported already is looked at. Nothing is called.
"""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
# A class with other special methods could run code while a file is read, or behave unlike its data.
ALLOWED = {
    *("__module__", "__qualname__", "__doc__", "__dict__", "__weakref__", "__annotations__"),
    *("__init__", "__repr__", "__str__", "__len__", "__contains__", "__getitem__", "__iter__"),
    *("__firstlineno__", "__static_attributes__", "__orig_bases__", "__parameters__"),
    *("__dataclass_fields__", "__dataclass_params__", "__match_args__", "__post_init__"),
    *("__eq__", "__annotate_func__", "__annotations_cache__", "__replace__"),
    "__slotnames__",  # pickle notes it in each class whose objects it saves
}
NAMEDTUPLE = {"__new__", "__slots__", "__getnewargs__", "__replace__", "__match_args__"}


def _find_imported(full_name: str) -> Any:
    """Returns what a name means in a file of the project that is imported; else None."""
    module_name, _, name = full_name.rpartition(".")
    module = sys.modules.get(module_name)
    file = None if module is None else vars(module).get("__file__")
    if not isinstance(file, str):
        return None
    path = Path(file).resolve()
    is_of_project = path.is_relative_to(ROOT) and "site-packages" not in path.parts
    return vars(module).get(name) if is_of_project else None


def find_plain_class(full_name: str) -> type | None:
    """Returns a class whose objects are nothing but their attributes, or a namedtuple.

    Its objects can be made without calling any of its methods.

    Args:
        full_name: with the module, as in a checkpoint.

    Returns:
        The class; None if there is no such class of the project, or it is not plain.
    """
    found = _find_imported(full_name)
    if type(found) is not type or found.__module__ + "." + found.__name__ != full_name:
        return None
    if found.__bases__ == (tuple,) and "_fields" in vars(found):
        special = {name for name in vars(found) if name.startswith("__")}
        return found if special <= ALLOWED | NAMEDTUPLE else None
    for kind in found.__mro__[:-1]:
        special = {name for name in vars(kind) if name.startswith("__")}
        is_plain = type(kind) is type and special - {"__hash__"} <= ALLOWED
        hashes = vars(kind).get("__hash__") is not None
        is_imported = _find_imported(f"{kind.__module__}.{kind.__name__}") is kind
        if not is_plain or hashes or not is_imported:
            return None
    return found


def find_constant_function(full_name: str) -> Any:
    """Returns a function that can only make a constant: it has no parameters and uses no names.

    None if there is no such function of the project, or it does more.
    """
    found = _find_imported(full_name)
    if not isinstance(found, types.FunctionType):
        return None
    code = found.__code__
    takes = code.co_argcount + code.co_kwonlyargcount + code.co_posonlyargcount
    uses = (*code.co_names, *code.co_freevars, *code.co_cellvars)
    return None if takes or uses else found
