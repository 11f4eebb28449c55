"""How many processes a config asks for, before it is checked."""

from __future__ import annotations

import json
from math import inf, nan
from typing import Any

import pytest

from config import ConfigParser
from tests.config.experiment import make_parser
from tests.helpers import run
from utils.launch import num_processes_to_launch
from utils.world import ProcessSettings


def get_settings(n_gpu: Any = 0, **parallel: Any) -> ProcessSettings:
    return make_parser(n_gpu=n_gpu, parallel=parallel).process_settings()


@pytest.mark.parametrize(
    ("parallel", "n_gpu", "num_processes"),
    [
        (None, 0, None),  # None: as many as there are accelerators
        (None, 4, None),
        ({}, 2, None),
        ({"type": "ddp"}, 4, None),
        ({"type": "fsdp"}, 0, None),
        ({"type": "none"}, 4, 1),
        ({"type": "dp"}, 4, 1),
        ({"type": "ddp", "args": {"num_processes": 3}}, 0, 3),
        ({"type": "fsdp", "args": {"num_processes": 2}}, 4, 2),
        ({"args": {"num_processes": 2}}, 0, 2),
        ({"args": {"num_processes": None}}, 0, None),
        ({"type": "dp", "args": {"num_processes": 2}}, 0, 1),
        ({"type": "ddp", "args": {"num_processes": 1}}, 4, 1),
    ],
    ids=repr,
)
def test_the_number_of_processes(parallel: Any, n_gpu: int, num_processes: int | None) -> None:
    settings = make_parser(n_gpu=n_gpu, parallel=parallel).process_settings()
    assert (settings.num_processes, settings.n_gpu) == (num_processes, n_gpu)


def test_without_any_key_the_settings_are_one_process_for_each_accelerator() -> None:
    assert ConfigParser({}).process_settings() == ProcessSettings(None)


def test_the_timeouts() -> None:
    settings = get_settings(args={"start_timeout_seconds": 5, "timeout_seconds": inf})
    assert (settings.start_timeout_seconds, settings.timeout_seconds) == (5, inf)
    assert get_settings() == ProcessSettings(None, n_gpu=0)


@pytest.mark.parametrize("value", [0, -1, nan, "x", True, None, [1], {"a": 1}])
def test_a_timeout_that_makes_no_sense_is_the_default(value: Any) -> None:
    settings = get_settings(args={"start_timeout_seconds": value, "timeout_seconds": value})
    assert settings == ProcessSettings(None, n_gpu=0)


@pytest.mark.parametrize("value", ["2", True, 2.0, [1], {"a": 1}])
def test_a_number_that_makes_no_sense_is_one_process(value: Any) -> None:
    assert get_settings(n_gpu=2, args={"num_processes": value}).num_processes == 1


@pytest.mark.parametrize("value", [0, -1, 10**9])
def test_a_number_out_of_range_needs_one_process(value: int) -> None:
    assert num_processes_to_launch(get_settings(args={"num_processes": value})) == 1


@pytest.mark.parametrize("parallel", ["ddp", 5, [], [1], True, {"type": 5}, {"type": ["ddp"]}])
def test_a_section_that_makes_no_sense_is_one_process(parallel: Any) -> None:
    assert make_parser(n_gpu=2, parallel=parallel).process_settings().num_processes == 1


@pytest.mark.parametrize("args", ["x", 5, [1], None])
def test_arguments_that_make_no_sense_are_ignored(args: Any) -> None:
    assert get_settings(n_gpu=2, type="ddp", args=args).num_processes is None


@pytest.mark.parametrize("n_gpu", [-1, "2", True, None, 1.5, [2], {"a": 2}])
def test_an_n_gpu_that_makes_no_sense_is_the_default(n_gpu: Any) -> None:
    assert get_settings(n_gpu=n_gpu) == ProcessSettings(None)


def test_torch_is_not_imported() -> None:
    config = json.dumps({"n_gpu": 4, "parallel": {"type": "ddp"}})
    code = f"""
import sys, json
from config import ConfigParser
print(ConfigParser(json.loads({config!r})).process_settings().num_processes, "torch" in sys.modules)
"""
    assert run("-c", code).stdout == "None False\n"
