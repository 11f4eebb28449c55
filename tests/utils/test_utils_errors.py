"""The errors that a user can cause, and the hints in them."""

from __future__ import annotations

import pytest

from utils.errors import (
    Problem,
    UserError,
    did_you_mean,
    is_out_of_memory,
    is_typo_of,
    name_error,
    one_line,
)


def test_an_error_names_its_key_before_its_message() -> None:
    error = UserError("must be above 0", key="trainer.epochs")
    assert str(error) == "trainer.epochs: must be above 0"
    assert error.problems == (Problem("trainer.epochs", "must be above 0"),)
    assert str(UserError("there is no such file")) == "there is no such file"


def test_several_problems_are_a_line_each() -> None:
    error = UserError([Problem("lr", "is negative"), Problem("", "nothing to do")])
    assert str(error) == "lr: is negative\nnothing to do"


def test_keys_are_put_under_a_section() -> None:
    error = UserError([Problem("lr", "is negative"), Problem("", "nothing to do")])
    moved = error.under("optimizer")
    assert [problem.key for problem in moved.problems] == ["optimizer.lr", "optimizer"]
    assert moved.under("").problems == moved.problems


@pytest.mark.parametrize(
    ("word", "choice"),
    [
        ("lrr", "lr"),
        ("lx", "lr"),
        ("rl", "lr"),
        ("momentun", "momentum"),
        ("momnetum", "momentum"),
        ("weight_decya", "weight_decay"),
        ("weightdecay", "weight_decay"),
        ("SGD ", "SGD"),
        ("sgd", "SGD"),
        ("adamw", "AdamW"),
        ("ADAM", "Adam"),
        ("resnet81", "resnet18"),
        ("resnet18", "ResNet18"),
        ("zzz", ""),
        ("q", ""),
        ("", ""),
    ],
)
def test_the_nearest_choice_is_suggested(word: str, choice: str) -> None:
    choices = ["lr", "momentum", "weight_decay", "SGD", "ASGD", "Adam", "AdamW", "Adamax"]
    choices += ["resnet34", "resnet18", "resnet101"] if word == "resnet81" else ["ResNet18"]
    assert did_you_mean(word, choices) == (f" (did you mean '{choice}'?)" if choice else "")


def test_of_equally_near_choices_the_first_is_suggested() -> None:
    choices = [f"layers.{number}" for number in range(30)]
    assert did_you_mean("layer.*", choices) == " (did you mean 'layers.0'?)"


def test_without_choices_nothing_is_suggested() -> None:
    assert did_you_mean("lr", []) == ""


@pytest.mark.parametrize(
    ("word", "name", "is_typo"),
    [
        ("seeed", "seed", True),
        ("sede", "seed", True),
        ("sd", "seed", False),
        ("losses", "loss", False),
        ("search", "arch", False),
        ("optimiser", "optimizer", True),
        ("optimisr", "optimizer", True),
        ("ptimisr", "optimizer", False),
        ("schedulers", "lr_scheduler", False),
    ],
)
def test_a_typo_is_one_slip_in_a_short_name_or_two_in_a_longer_one(
    word: str, name: str, is_typo: bool
) -> None:
    assert is_typo_of(word, name) is is_typo


@pytest.mark.parametrize(
    ("text", "limit", "line"),
    [
        ("plain", 300, "plain"),
        ("two\nlines\t and  spaces", 300, "two lines and spaces"),
        ("\x1b[31mred\x00", 300, "?[31mred?"),
        ("", 300, "ValueError"),
        ("x" * 20, 10, "x" * 9 + "…"),
    ],
)
def test_an_error_is_put_on_one_printable_line(text: str, limit: int, line: str) -> None:
    assert one_line(ValueError(text), limit) == line


@pytest.mark.parametrize(
    "text",
    [
        "CUDA error: out of memory",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "MPS backend out of memory (MPS allocated: 5.05 GB)",
        "DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes",
    ],
)
def test_libraries_say_in_several_ways_that_there_is_no_memory(text: str) -> None:
    assert is_out_of_memory(RuntimeError(text))
    assert not is_out_of_memory(RuntimeError("a memory of summer"))


class NoTextError(RuntimeError):
    def __str__(self) -> str:
        raise ValueError("no text")


def test_an_error_that_cannot_be_printed_is_named_by_its_class() -> None:
    assert one_line(NoTextError()) == "<NoTextError without a text>"
    assert not is_out_of_memory(NoTextError())


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (KeyError("a"), "KeyError: 'a'"),
        (MemoryError(), "MemoryError"),
        (UserError("it is wrong", key="loss"), "loss: it is wrong"),
    ],
)
def test_an_error_is_named_by_its_class_and_text(error: BaseException, name: str) -> None:
    assert name_error(error) == name
