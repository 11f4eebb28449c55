"""The methods of ConfigParser that pytorch-template's projects call, and its pickling."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from config.build import Builder
from config.call import bind


class TemplateBuilder(Builder):
    """Makes an object from a module that the caller names, and pickles as plain values.

    Attributes:
        resume, run_id: of the ConfigParser.
    """

    resume: Path | None
    run_id: str

    def init_obj(self, name: str, module: ModuleType | Any, *args: Any, **kwargs: Any) -> Any:
        """Returns ``module.TYPE(*args, **kwargs, **ARGS)`` for the section ``name``."""
        return bind(self.tree, name, module, kwargs)(*args)

    def init_ftn(self, name: str, module: ModuleType | Any, *args: Any, **kwargs: Any) -> Any:
        """Like ``init_obj``, but binds the arguments without calling the function."""
        function = bind(self.tree, name, module, kwargs)
        return partial(function, *args) if args else function

    # A project's own _save_checkpoint may pickle the ConfigParser. Plain values load safely.

    def __getstate__(self) -> dict[str, Any]:
        resume = str(self.resume) if self.resume is not None else None
        return {"_config": self.plain(), "resume": resume, "run_id": self.run_id}

    def __setstate__(self, state: dict[str, Any]) -> None:
        make: Any = type(self)  # its constructor takes more than the one of this class
        parser = make(state["_config"], state["resume"], run_id=state["run_id"])
        vars(self).update(vars(parser))
