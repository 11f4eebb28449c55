"""The storage of a search: the database in which Optuna keeps the trials."""

from __future__ import annotations

import contextlib
import random
import re
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils.errors import UserError, one_line

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

KEY = "search.storage"
SQLITE_TIMEOUT_SECONDS = 60
CONNECT_TIMEOUT_SECONDS = 15
MAX_OPENINGS = 5
_DRIVERS_WITH_TIMEOUT = ("psycopg", "psycopg2", "pymysql", "mysqldb", "mariadbconnector")
_LOCK = threading.RLock()  # the filters of warnings belong to the process


def import_optuna() -> Any:
    """Imports Optuna.

    Raises:
        UserError: it is not installed.
    """
    try:
        import optuna
    except ImportError:
        message = "a search needs Optuna; pip install '.[search]' installs it"
        raise UserError(message, key="search") from None
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


def get_url(url: str | None, folder: Path) -> str:
    """Returns the URL of a storage; without one, that of an SQLite file in ``folder``."""
    return f"sqlite:///{folder.resolve() / 'storage.db'}" if url is None else url


def open_storage(url: str) -> BaseStorage:
    """Opens a storage, and makes its tables if there are none.

    Raises:
        UserError: the URL is malformed, its driver is missing, or the database cannot be used.
    """
    with quiet():
        for opening in range(1, MAX_OPENINGS + 1):
            try:
                return _open(url)
            except UserError:
                raise
            except Exception as error:  # each driver has its own
                is_race = re.search("already exists|duplicate key|Duplicate entry", str(error))
                if is_race is None or opening == MAX_OPENINGS:
                    raise make_error(error, url) from None
                time.sleep(random.random())
    raise AssertionError("unreachable")


def _open(url: str) -> BaseStorage:
    from optuna.storages import JournalStorage, RDBStorage
    from optuna.storages.journal import JournalRedisBackend
    from sqlalchemy.engine import make_url

    if url.startswith(("redis://", "rediss://")):
        return JournalStorage(JournalRedisBackend(url))
    if "://" not in url:
        raise UserError(f"{mask(url)} is not a URL, such as postgresql+psycopg://…", key=KEY)
    parsed = make_url(url)
    options: dict[str, Any] = {}
    if parsed.get_backend_name() == "sqlite":
        if not parsed.database or parsed.database == ":memory:":
            raise UserError(f"{url} keeps nothing; give a file, or null", key=KEY)
        options["connect_args"] = {"timeout": SQLITE_TIMEOUT_SECONDS}
    else:
        options["pool_pre_ping"] = True  # a server may drop idle connections
        if parsed.get_driver_name() in _DRIVERS_WITH_TIMEOUT:
            timeout = parsed.query.get("connect_timeout", CONNECT_TIMEOUT_SECONDS)
            options["connect_args"] = {"connect_timeout": int(str(timeout))}
    escaped = url.replace("{", "{{").replace("}", "}}")  # Optuna fills in templates
    return RDBStorage(escaped, engine_kwargs=options)


def mask(url: str) -> str:
    """Returns ``url`` with stars in place of the password."""
    url = re.sub(r"(://[^/@:]*):[^/]*@", r"\1:***@", url)
    return re.sub(r"(?i)(password|passwd|pwd)=[^&]*", r"\1=***", url)


def make_error(error: BaseException, url: str) -> UserError:
    """Makes the UserError for an exception of Optuna, SQLAlchemy or a driver."""
    while error.__cause__ is not None:
        error = error.__cause__
    reason: BaseException = getattr(error, "orig", None) or error
    text = one_line(reason)
    for word in re.findall(r"://[^/@:]*:([^/]*)@|(?i:password|passwd|pwd)=([^&]*)", url):
        for password in filter(None, word):
            text = text.replace(password, "***")
    if isinstance(reason, ImportError):
        text = f"its driver is missing ({text}); pip installs it"
    return UserError(f"{mask(url)} cannot be used: {text}", key=KEY)
