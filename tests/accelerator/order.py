"""The files of this folder in their order of importance: one run may have time for some only."""

from __future__ import annotations

FILES = (
    "test_accelerator_copies.py",
    "test_accelerator_waits.py",
    "test_accelerator_precision.py",
    "test_accelerator_resume.py",
    "test_accelerator_checkpoints.py",
    "test_accelerator_memory.py",
    "test_accelerator_numbers.py",
    "test_accelerator_parallel.py",
    "test_accelerator_features.py",
    "test_accelerator_failures.py",
    "test_accelerator_tools.py",
    "test_accelerator_configs.py",
    "test_accelerator_compile.py",
)
