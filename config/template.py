"""The methods that pytorch-template's ConfigParser makes objects with."""

from __future__ import annotations

from functools import partial
from types import ModuleType
from typing import Any

from config.build import Builder
from config.call import bind


class TemplateBuilder(Builder):
    """Makes an object from a module that the caller names."""

    def init_obj(self, name: str, module: ModuleType | Any, *args: Any, **kwargs: Any) -> Any:
        """Returns ``module.TYPE(*args, **kwargs, **ARGS)`` for the section ``name``."""
        return bind(self.tree, name, module, kwargs)(*args)

    def init_ftn(self, name: str, module: ModuleType | Any, *args: Any, **kwargs: Any) -> Any:
        """Like ``init_obj``, but binds the arguments without calling the function."""
        function = bind(self.tree, name, module, kwargs)
        return partial(function, *args) if args else function
