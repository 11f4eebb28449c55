"""How a program ends, and what it says."""

from __future__ import annotations

import os

import pytest

from utils.errors import UserError, did_you_mean, one_line
from utils.main import run_main


def test_a_good_end_has_no_status(capsys: pytest.CaptureFixture[str]) -> None:
    run_main(lambda: print("done"))
    assert capsys.readouterr() == ("done\n", "")


def test_a_users_mistake_is_its_lines_on_standard_error_and_status_2(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def main() -> None:
        print("started")
        raise UserError("a: is wrong\nb: is wrong")

    with pytest.raises(SystemExit) as caught:
        run_main(main)
    assert caught.value.code == 2
    assert capsys.readouterr() == ("started\n", "a: is wrong\nb: is wrong\n")


def test_an_interrupt_is_a_word_and_status_130(capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> None:
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as caught:
        run_main(main)
    assert caught.value.code == 130
    assert capsys.readouterr().err == "interrupted\n"


@pytest.mark.parametrize("error", [ValueError("a bug"), RuntimeError("a bug"), SystemExit(3)])
def test_any_other_error_keeps_its_traceback(error: BaseException) -> None:
    def main() -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        run_main(main)
    assert caught.value is error


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("lrr", " (did you mean 'lr'?)"),
        ("momentun", " (did you mean 'momentum'?)"),
        ("zzz", ""),
        ("", ""),
    ],
)
def test_the_nearest_choice_is_suggested(word: str, hint: str) -> None:
    assert did_you_mean(word, ["lr", "momentum"]) == hint


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("plain", "plain"),
        ("two\nlines\t and  spaces", "two lines and spaces"),
        ("\x1b[31mred\x00", "?[31mred?"),
        ("", "ValueError"),
        ("x" * 20, "x" * 9 + "…"),
    ],
)
def test_an_error_is_put_on_one_printable_line(text: str, line: str) -> None:
    assert one_line(ValueError(text), limit=10 if text.startswith("xx") else 300) == line


def test_threads_sleep_sooner_unless_the_user_says_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for given, kept in ((None, "10000"), ("7", "7")):
        monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
        if given:
            monkeypatch.setenv("GOMP_SPINCOUNT", given)
        run_main(lambda: None)
        assert os.environ["GOMP_SPINCOUNT"] == kept
