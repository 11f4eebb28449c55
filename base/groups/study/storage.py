"""The storage of a search: the database in which Optuna keeps the trials."""

from __future__ import annotations

import contextlib
import functools
import itertools
import logging
import random
import re
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, TypeVar
from urllib.parse import unquote

from base.groups.plan.engine import MISSING
from utils.errors import UserError, one_line

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

KEY = "search.storage"
FILE = "storage.db"
SQLITE_TIMEOUT_SECONDS = 60
CONNECT_TIMEOUT_SECONDS = 15
PAUSES_SECONDS = (1, 2, 4, 8, 16)  # a server that restarts is back by then
MAX_OPENINGS = 5
_DRIVERS_WITH_TIMEOUT = ("psycopg", "psycopg2", "pymysql", "mysqldb", "mariadbconnector")
_LIBRARIES = ("optuna", "redis", "sqlalchemy", "sqlite3")
_RACE = re.compile("already exists|duplicate key|duplicate entry|UNIQUE constraint", re.IGNORECASE)
_PASSWORD = re.compile(r":(?!//)(\S*)@|(?i:password|passwd|pwd)=([^&\s]*)")
_LOCK = threading.RLock()  # the filters of warnings belong to the process

P = ParamSpec("P")
Result = TypeVar("Result")


class HasStorage(Protocol):
    """An object whose methods ask the storage at ``url``."""

    url: str


Owner = TypeVar("Owner", bound=HasStorage)
Method = Callable[Concatenate[Owner, P], Result]


def import_optuna() -> Any:
    """Imports Optuna.

    Raises:
        UserError: it is not installed.
    """
    try:
        import optuna
    except ImportError:
        raise UserError(MISSING, key="search") from None
    return optuna


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps Optuna from logging and warning while the context lasts, one thread at a time."""
    optuna = import_optuna()
    with _LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        verbosity = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.CRITICAL)
        try:
            yield
        finally:
            optuna.logging.set_verbosity(verbosity)


def asks_storage(method: Method[Owner, P, Result]) -> Method[Owner, P, Result]:
    """Decorates a method that asks the storage. It must be right to call it twice.

    A storage that does not answer is asked again for half a minute.
    """

    @functools.wraps(method)
    def ask(self: Owner, /, *args: P.args, **kwargs: P.kwargs) -> Result:
        pauses = iter(PAUSES_SECONDS)
        while True:
            try:
                with quiet():
                    return method(self, *args, **kwargs)
            except Exception as error:
                failure = _translate(error, self.url)
                pause = next(pauses, None) if _is_connection_error(error) else None
            if pause is None:
                raise failure
            logging.getLogger("search").warning("%s; trying again in %d s", failure, pause)
            time.sleep(pause)

    return ask


# -- opening ---------------------------------------------------------------------------------------


def get_url(url: str | None, folder: Path) -> str:
    """Returns the URL of a storage; without one, that of an SQLite file in ``folder``."""
    from sqlalchemy.engine import URL

    if url is not None:
        return url
    path = str(folder.resolve() / FILE)
    return URL.create("sqlite", database=path).render_as_string(hide_password=False)


def find_wrong_url(url: str) -> str:
    """Returns why a text is no URL; empty if it may be one."""
    if "://" in url:
        return ""
    message = f"'{mask(url)}' is no URL, such as postgresql+psycopg://user@host/database"
    return f"{message}; null takes a file in the search's folder"


def open_storage(url: str) -> BaseStorage:
    """Opens a storage, and makes its tables if there are none.

    Raises:
        UserError: the URL is malformed, its driver is missing, or the database cannot be used.
    """
    for _ in range(MAX_OPENINGS):
        try:
            with quiet():
                return _open(url)
        except UserError:
            raise
        except Exception as error:  # each driver has its own
            failure = make_error(error, url)
            if not _RACE.search(str(failure)):
                raise failure from None
        time.sleep(random.random())  # another process makes the tables now
    raise failure


def _open(url: str) -> BaseStorage:
    from optuna.storages import JournalStorage, RDBStorage
    from optuna.storages.journal import JournalRedisBackend
    from sqlalchemy.engine import make_url

    if url.startswith(("redis://", "rediss://")):
        return JournalStorage(JournalRedisBackend(url))
    if problem := find_wrong_url(url):
        raise UserError(problem, key=KEY)
    parsed = make_url(url)
    options: dict[str, Any] = {}
    if parsed.get_backend_name() == "sqlite":
        if not parsed.database or parsed.database == ":memory:":
            raise UserError(f"{url} keeps nothing on the disk; give a file, or null", key=KEY)
        options["connect_args"] = {"timeout": SQLITE_TIMEOUT_SECONDS}
    else:
        options["pool_pre_ping"] = True  # a server may drop idle connections
        is_given = "connect_timeout" in parsed.query
        if parsed.get_driver_name() in _DRIVERS_WITH_TIMEOUT and not is_given:
            options["connect_args"] = {"connect_timeout": CONNECT_TIMEOUT_SECONDS}
    escaped = url.replace("{", "{{").replace("}", "}}")  # Optuna fills in templates
    return RDBStorage(escaped, engine_kwargs=options)


# -- errors ----------------------------------------------------------------------------------------


def mask(text: str) -> str:
    """Returns a URL, or a text with URLs, with stars in place of passwords."""
    text = re.sub(r":(?!//)\S*@", ":***@", text)
    return re.sub(r"(?i)(password|passwd|pwd)=[^&\s]*", r"\1=***", text)


def make_error(error: BaseException, url: str) -> UserError:
    """Makes the UserError for an exception of Optuna, SQLAlchemy or a driver."""
    while error.__cause__ is not None:
        error = error.__cause__
    reason: BaseException = getattr(error, "orig", None) or error
    text = one_line(reason)
    for password in filter(None, itertools.chain.from_iterable(_PASSWORD.findall(url))):
        for spelling in (password, unquote(password)):
            text = text.replace(spelling, "***")
    text = re.sub(r"[^\s'\"]+@", "***@", text)  # the end of a password that has an @
    if isinstance(reason, ImportError):
        text = f"its driver for Python is not installed: {text}"
        if "psycopg2" in text:
            text += "; postgresql+psycopg:// takes psycopg"
    elif url.count("@") > 1:
        text += "; a password is written with %40 for @"
    return UserError(f"{mask(url)} cannot be used: {text}", key=KEY)


def _translate(error: Exception, url: str) -> Exception:
    """Returns the UserError for an exception of the storage; another one stays."""
    library = type(error).__module__.partition(".")[0]
    if library in _LIBRARIES or isinstance(error, OSError):
        return make_error(error, url)
    return error


def _is_connection_error(error: BaseException) -> bool:
    """Whether the storage may answer later: it is busy, or its server restarts."""
    while error.__cause__ is not None:
        error = error.__cause__
    names = [kind.__name__ for kind in type(error).__mro__]
    if type(error).__module__ == "sqlite3":
        return "locked" in str(error)
    return not {"OperationalError", "InterfaceError", "ConnectionError"}.isdisjoint(names)
