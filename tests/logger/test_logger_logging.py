"""The console and info.log."""

from __future__ import annotations

import errno
import json
import logging
import logging.config
import re
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from logger import setup_logging
from logger.logger import close_files
from utils.log import RUN_LOGGERS, get_logger, get_run_handlers, set_run_handlers


@pytest.fixture(autouse=True)
def _root_logger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A root logger without handlers of ours, in a folder without settings of a project."""
    monkeypatch.chdir(tmp_path)
    root = logging.getLogger()
    handlers, level, factory = list(root.handlers), root.level, logging.getLogRecordFactory()
    run_handlers = get_run_handlers()
    root.handlers = []
    yield
    close_files()
    set_run_handlers(run_handlers)
    logging.setLogRecordFactory(factory)
    logging.disable(logging.NOTSET)
    for logger in root.manager.loggerDict.values():
        if isinstance(logger, logging.Logger):
            logger.disabled = False
    root.handlers = handlers
    root.setLevel(level)
    logging.captureWarnings(False)


def test_lines_are_plain_on_the_console_and_dated_in_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    setup_logging(tmp_path / "log")
    logging.getLogger("lines").info("epoch %d", 3)
    logging.getLogger("lines").debug("not shown")
    assert capsys.readouterr().out == "epoch 3\n"
    text = (tmp_path / "log" / "info.log").read_text(encoding="utf-8")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} lines INFO epoch 3\n", text)


def test_without_a_folder_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    setup_logging()
    logging.getLogger("lines").info("tested")
    assert capsys.readouterr().out == "tested\n"
    assert list(tmp_path.iterdir()) == []


def test_setting_up_twice_repeats_no_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        setup_logging(tmp_path / "log")
    logging.getLogger("lines").info("once")
    assert capsys.readouterr().out == "once\n"
    assert (tmp_path / "log" / "info.log").read_text(encoding="utf-8").count("once") == 1


def test_another_folder_closes_the_earlier_file(tmp_path: Path) -> None:
    for name in ("a", "b"):
        setup_logging(tmp_path / name)
        logging.getLogger("lines").info("in %s", name)
    for name in ("a", "b"):
        assert (tmp_path / name / "info.log").read_text(encoding="utf-8").endswith(f"in {name}\n")
    assert (
        len(
            [
                handler
                for handler in logging.getLogger().handlers
                if isinstance(handler, logging.FileHandler)
            ]
        )
        == 1
    )


def test_a_resumed_log_is_continued(tmp_path: Path) -> None:
    for text in ("first", "second"):
        setup_logging(tmp_path)
        logging.getLogger("lines").info(text)
        close_files()
    lines = (tmp_path / "info.log").read_text(encoding="utf-8").splitlines()
    assert [line.rpartition(" ")[2] for line in lines] == ["first", "second"]


def test_the_console_continues_after_the_files_are_closed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    setup_logging(tmp_path)
    close_files()
    logging.getLogger("lines").info("still here")
    assert capsys.readouterr().out == "still here\n"
    assert (tmp_path / "info.log").read_text(encoding="utf-8") == ""


def test_warnings_of_libraries_are_logged(tmp_path: Path) -> None:
    setup_logging(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(False)
        logging.captureWarnings(True)  # undoes the catching by pytest
        warnings.warn("beware", UserWarning, stacklevel=1)
        logging.captureWarnings(False)
    assert "beware" in (tmp_path / "info.log").read_text(encoding="utf-8")


def test_the_settings_of_a_project_are_used(tmp_path: Path) -> None:
    settings = {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"short": {"format": "<%(message)s>"}},
        "handlers": {
            "file": {
                "class": "logging.FileHandler",
                "formatter": "short",
                "filename": "project.log",
            }
        },
        "root": {"level": "INFO", "handlers": ["file"]},
    }
    (tmp_path / "logger").mkdir()
    (tmp_path / "logger" / "logger_config.json").write_text(json.dumps(settings), encoding="utf-8")
    setup_logging(tmp_path / "run")
    logging.getLogger("lines").info("hello")
    assert (tmp_path / "run" / "project.log").read_text(encoding="utf-8") == "<hello>\n"


class NoText:
    """An object that cannot be printed."""

    def __str__(self) -> str:
        raise ValueError("no text")

    __repr__ = __str__


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (("%d pictures", "many"), "%d pictures many"),
        (("done", 1, 2), "done 1, 2"),
        (("%(a)s", {"b": 1}), "%(a)s {'b': 1}"),
        (("%s", NoText()), "%s <NoText without a text>"),
        ((NoText(),), "<NoText without a text>"),
    ],
)
@pytest.mark.parametrize("get", [logging.getLogger, lambda name: get_logger(name, logging.INFO)])
def test_a_slip_in_a_line_is_shown_and_neither_raises_nor_silences_the_log(
    line: tuple[Any, ...],
    shown: str,
    get: Callable[[str], logging.Logger],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """fastprogress #21, Lightning #7642."""
    get_logger("train", logging.INFO)
    setup_logging(tmp_path)
    get("lines").info(*line)
    get("lines").info("after it")
    for text in (capsys.readouterr().out, (tmp_path / "info.log").read_text(encoding="utf-8")):
        assert shown in text
        assert "cannot be logged: " in text
        assert text.endswith("after it\n")


def break_handler() -> None:
    class Failing(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise OSError("no network")

    logging.getLogger().handlers.insert(0, Failing())


def silence(logger: logging.Logger) -> None:
    logger.propagate, logger.disabled = False, True


@pytest.mark.parametrize(
    "interfere",
    [
        lambda: logging.config.dictConfig({"version": 1}),
        lambda: logging.config.dictConfig({"version": 1, "root": {"handlers": []}}),
        lambda: logging.disable(logging.CRITICAL),
        lambda: logging.basicConfig(force=True, level=logging.ERROR),
        lambda: logging.getLogger().handlers.clear(),
        lambda: silence(logging.getLogger("lines")),
        lambda: logging.getLogger().setLevel(logging.CRITICAL),
        logging.shutdown,
        break_handler,
    ],
)
def test_the_lines_of_a_run_go_on_whatever_a_library_does_to_logging(
    interfere: Callable[[], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """DeepCAVE #38."""
    logger = get_logger("lines", logging.INFO)
    setup_logging(tmp_path)
    interfere()
    logger.info("one")
    setup_logging(tmp_path)
    logger.info("two")
    assert capsys.readouterr().out == "one\ntwo\n"
    text = (tmp_path / "info.log").read_text(encoding="utf-8")
    assert [line.split()[-1] for line in text.splitlines()] == ["one", "two"]


def test_every_logger_of_a_run_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The modules of data, devices and checkpoints have loggers of their own."""
    setup_logging(tmp_path)
    logging.getLogger().setLevel(logging.CRITICAL)
    for name in RUN_LOGGERS:
        silence(logging.getLogger(name))
        logging.getLogger(name).info("line of %s", name)
    expected = [f"line of {name}" for name in RUN_LOGGERS]
    assert capsys.readouterr().out.splitlines() == expected
    lines = (tmp_path / "info.log").read_text(encoding="utf-8").splitlines()
    assert [line.partition("INFO ")[2] for line in lines] == expected


def test_a_text_that_utf_8_cannot_encode_is_in_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup_logging(tmp_path)
    root = logging.getLogger()
    # pytest's own handlers would send the text to another process, which cannot encode it.
    ours = [h for h in root.handlers if not type(h).__module__.startswith("_pytest")]
    monkeypatch.setattr(root, "handlers", ours)
    logging.getLogger("lines").warning("a file named %s", "a\udcff")
    assert r"a file named a\udcff" in (tmp_path / "info.log").read_text(encoding="utf-8")


def test_an_error_in_a_thread_is_in_the_file(tmp_path: Path) -> None:
    setup_logging(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading, "__excepthook__", lambda _: None)
        thread = threading.Thread(target=lambda: {}["missing"], name="reader")
        thread.start()
        thread.join()
    text = (tmp_path / "info.log").read_text(encoding="utf-8")
    assert "An error has ended reader:\nTraceback" in text
    assert "KeyError: 'missing'" in text


def test_a_full_disk_ends_a_thread_with_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The thread of TensorBoard's files, for example. The traceback is in the file."""

    def write() -> None:
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    setup_logging(tmp_path)
    thread = threading.Thread(target=write, name="writer")
    thread.start()
    thread.join()
    found = capfd.readouterr().err
    assert found == f"An error has ended writer: [Errno {errno.EDQUOT}] Disk quota exceeded\n"
    assert "Traceback" in (tmp_path / "info.log").read_text()
