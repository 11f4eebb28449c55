"""What an unchecked config says about the processes of a run."""

from __future__ import annotations

from math import inf, nan
from typing import Any

import pytest

from config import ConfigParser
from utils.launch import ProcessSettings


def settings_of(**config: Any) -> ProcessSettings:
    return ConfigParser(config).process_settings()


@pytest.mark.parametrize(
    ("config", "settings"),
    [
        ({}, ProcessSettings(None)),
        ({"n_gpu": 2}, ProcessSettings(None, n_gpu=2)),
        ({"parallel": {}}, ProcessSettings(None)),
        ({"parallel": {"type": "fsdp"}, "n_gpu": 0}, ProcessSettings(None, n_gpu=0)),
        ({"parallel": {"type": "none"}, "n_gpu": 2}, ProcessSettings(1, n_gpu=2)),
        ({"parallel": {"type": "dp", "args": {"num_processes": 2}}}, ProcessSettings(1)),
        ({"parallel": {"type": "ddp", "args": {"num_processes": 2}}}, ProcessSettings(2)),
        ({"parallel": {"args": {"num_processes": None}}}, ProcessSettings(None)),
        (
            {"parallel": {"args": {"start_timeout_seconds": 7, "timeout_seconds": 0.5}}},
            ProcessSettings(None, 1, 7, 0.5),
        ),
        ({"parallel": {"args": {"timeout_seconds": inf}}}, ProcessSettings(None, 1, 300, inf)),
    ],
)
def test_the_section_says_how_many_and_how_long_they_wait(
    config: dict[str, Any], settings: ProcessSettings
) -> None:
    assert settings_of(**config) == settings


@pytest.mark.parametrize("value", ["2", 2.0, True, [2], {"a": 1}])
def test_a_number_of_a_wrong_type_is_one_process(value: Any) -> None:
    parallel = {"type": "ddp", "args": {"num_processes": value}}
    assert settings_of(parallel=parallel) == ProcessSettings(1)


@pytest.mark.parametrize("value", ["2", None, [2], -1, 0, nan])
def test_a_time_that_is_none_counts_as_not_given(value: Any) -> None:
    parallel = {"type": "ddp", "args": {"timeout_seconds": value, "start_timeout_seconds": value}}
    assert settings_of(parallel=parallel) == ProcessSettings(None)


@pytest.mark.parametrize("value", ["ddp", 2, ["ddp"], {"type": ["ddp"]}, {"type": 7}])
def test_a_section_that_is_none_is_one_process(value: Any) -> None:
    assert settings_of(parallel=value) == ProcessSettings(1)


@pytest.mark.parametrize("value", ["ddp", 2, [2], None])
def test_arguments_that_are_none_count_as_not_given(value: Any) -> None:
    assert settings_of(parallel={"type": "ddp", "args": value}) == ProcessSettings(None)


@pytest.mark.parametrize("value", ["2", 2.0, True, None, [2]])
def test_a_number_of_accelerators_of_a_wrong_type_is_the_usual_one(value: Any) -> None:
    assert settings_of(n_gpu=value) == ProcessSettings(None, n_gpu=1)
