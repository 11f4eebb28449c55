"""Builds the simulated device of ``device.cpp``, once for each version, and makes torch know it."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import tempfile
import warnings
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

NAME = "simulated"


class DeviceModule(ModuleType):
    """What torch expects of ``torch.DEVICE``, as of ``torch.cuda``."""

    def __init__(self, extension: Any) -> None:
        super().__init__(f"torch.{NAME}")
        self.extension = extension
        self.manual_seed = self.manual_seed_all = extension.manual_seed

    def is_available(self) -> bool:
        return True

    is_initialized = is_available

    def _is_in_bad_fork(self) -> bool:
        return False

    def device_count(self) -> int:
        return 1

    def current_device(self) -> int:
        return 0

    def get_device_name(self, index: int = 0) -> str:
        return NAME

    def device(self, index: Any) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def empty_cache(self) -> None:
        """There is no cache."""

    def get_rng_state(self, device: Any = None) -> torch.Tensor:
        state: torch.Tensor = self.extension.get_rng_state()
        return state

    def set_rng_state(self, state: torch.Tensor, device: Any = None) -> None:
        self.extension.set_rng_state(state)

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]


def build(source: Path, folder: Path) -> Any:
    """Builds the extension in ``folder``, unless it is there already, and imports it."""
    name = f"{NAME}_device"
    library = folder / f"{name}.so"
    if not library.is_file():
        from torch.utils import cpp_extension

        folder.mkdir(exist_ok=True)
        flags = ["-O1", "-w"]
        return cpp_extension.load(
            name, [str(source)], extra_cflags=flags, build_directory=str(folder)
        )
    spec = spec_from_file_location(name, library)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@functools.cache
def load() -> Any:
    """Builds and registers the device; returns the extension. The first build takes a minute."""
    source = Path(__file__).with_name("device.cpp")
    version = hashlib.sha256(source.read_bytes() + torch.__version__.encode()).hexdigest()[:12]
    folder = Path(tempfile.gettempdir(), f"simulated-device-{version}")
    extension = build(source, folder)
    torch.utils.rename_privateuse1_backend(NAME)
    torch._register_device_module(NAME, DeviceModule(extension))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.utils.generate_methods_for_privateuse1_backend()
    return extension
