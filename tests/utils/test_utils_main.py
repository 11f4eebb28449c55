"""How a program ends: its exit status, and what it prints."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers import ROOT
from utils.errors import UserError
from utils.main import run_main


def test_a_program_that_succeeds_has_no_status(capsys: pytest.CaptureFixture[str]) -> None:
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


def test_a_python_without_torch_is_one_line_that_names_the_environment(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def main() -> None:
        raise ModuleNotFoundError("No module named 'torch'")

    with pytest.raises(SystemExit) as caught:
        run_main(main)
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("No module named 'torch'")
    assert "source .venv/bin/activate" in error


@pytest.mark.parametrize("program", ["base.tools.runs", "base.checkpoint.sharded"])
@pytest.mark.parametrize("library", ["torch", "numpy"])
def test_a_program_of_a_package_without_a_library_is_one_line(
    tmp_path: Path, program: str, library: str
) -> None:
    """Python imports the package first."""
    missing = f"No module named '{library}'"
    (tmp_path / f"{library}.py").write_text(f"raise ModuleNotFoundError({missing!r})")
    done = subprocess.run(
        [sys.executable, "-m", program],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith(f"{missing}, at least not for this Python")


def test_an_interrupt_is_one_line_and_status_130(capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> None:
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as caught:
        run_main(main)
    assert caught.value.code == 130
    assert capsys.readouterr().err == "interrupted\n"


@pytest.mark.parametrize(("name", "status"), [("SIGTERM", 143), ("SIGUSR1", 75)])
def test_a_signal_is_one_line_and_its_status(
    name: str, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """spd #741."""
    with pytest.raises(SystemExit) as caught:
        run_main(lambda: os.kill(os.getpid(), getattr(signal, name)))
    assert caught.value.code == status
    assert capsys.readouterr().err == f"stopped by {name}\n"


def test_an_error_that_a_library_makes_of_a_signal_has_the_status_of_the_signal() -> None:
    def main() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except BaseException:
            raise RuntimeError("the library was interrupted") from None

    with pytest.raises(SystemExit) as caught:
        run_main(main)
    assert caught.value.code == 143


def test_an_error_of_a_library_that_the_user_can_mend_is_one_line_and_status_2(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def main() -> None:
        raise IndexError("Target 3 is out of bounds.")

    with pytest.raises(SystemExit) as caught:
        run_main(main)
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith("loss: Target 3 is out of bounds. The model has")


def test_what_could_control_the_terminal_is_not_printed(capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> None:
        raise UserError("a\x1b[31m file\nand another")

    with pytest.raises(SystemExit):
        run_main(main)
    assert capsys.readouterr().err == "a?[31m file\nand another\n"


def test_a_reader_that_has_left_is_status_141_without_a_word() -> None:
    code = "from utils.main import run_main; run_main(lambda: print('x' * 1_000_000))"
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, stdout=write, stderr=subprocess.PIPE, check=False
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize("error", [ValueError("a bug"), RuntimeError("a bug"), SystemExit(3)])
def test_any_other_error_keeps_its_traceback(error: BaseException) -> None:
    def main() -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        run_main(main)
    assert caught.value is error


def test_torchs_threads_sleep_sooner_unless_the_user_says_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for given, kept in ((None, "10000"), ("7", "7")):
        monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
        if given:
            monkeypatch.setenv("GOMP_SPINCOUNT", given)
        run_main(lambda: None)
        assert os.environ["GOMP_SPINCOUNT"] == kept
