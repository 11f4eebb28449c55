"""A PostgreSQL server for tests: of an ordinary user, in a temporary folder, on a loopback port."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

USER = "nobody"  # runs the server if the tests run as root, which the server refuses
ROLE = "plainloop"
DATABASE = "postgres"  # `initdb` makes it
MAX_STARTS = 5  # another program may take the port meanwhile
START_SECONDS = 60.0
STOP_SECONDS = 30.0


def find_program(name: str) -> Path | None:
    """The path of a program of PostgreSQL, the newest if there are several."""
    found = shutil.which(name)
    if found is not None:
        return Path(found)
    versions = Path("/usr/lib/postgresql").glob(f"*/bin/{name}")
    return max(versions, key=lambda path: float(path.parts[-3]), default=None)


def find_missing() -> str:
    """What these tests lack on this machine, in a sentence; empty if they can run."""
    if find_program("initdb") is None or find_program("postgres") is None:
        return "PostgreSQL's initdb is not on this machine (Debian: apt install postgresql)"
    if importlib.util.find_spec("psycopg") is None:
        return "psycopg is not installed (pip install 'psycopg[binary]')"
    if os.geteuid() == 0 and shutil.which("setpriv") is None:
        return "the server does not run as root, and setpriv is not on this machine"
    return ""


@contextlib.contextmanager
def run_server() -> Iterator[str]:
    """Runs a server while the context lasts. Yields the URL of its database for SQLAlchemy."""
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    try:
        if os.geteuid() == 0:
            shutil.chown(folder, USER)
        make_database(folder)
        process, port = start_server(folder)
        try:
            yield f"postgresql+psycopg://{ROLE}@127.0.0.1:{port}/{DATABASE}"
        finally:
            stop_server(process)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def make_database(folder: Path) -> None:
    """Makes the files of the server in ``folder``."""
    command = [*as_user(), str(find_program("initdb")), "-D", str(folder / "data"), "-U", ROLE]
    command += ["--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def as_user() -> list[str]:
    """The command that runs another one as an ordinary user, and ends it with this process."""
    if shutil.which("setpriv") is None:
        return []
    command = ["setpriv", "--pdeathsig", "INT"]
    if os.geteuid() == 0:
        user = pwd.getpwnam(USER)
        command += ["--reuid", str(user.pw_uid), "--regid", str(user.pw_gid), "--clear-groups"]
    return command


def start_server(folder: Path) -> tuple[subprocess.Popen[bytes], int]:
    """Starts a server. Returns its process and its port, where it answers."""
    log = folder / "server.log"
    for _ in range(MAX_STARTS):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port: int = free.getsockname()[1]
        # Without fsync, which only protects from a loss of power, the tests spare the disk.
        options = ["-h", "127.0.0.1", "-p", str(port), "-k", str(folder), "-F"]
        command = [*as_user(), str(find_program("postgres")), "-D", str(folder / "data"), *options]
        with log.open("wb") as file:
            process = subprocess.Popen(
                command, cwd=folder, stdin=subprocess.DEVNULL, stdout=file, stderr=file
            )
        if answers(process, port):
            return process, port
        stop_server(process)
    raise AssertionError(f"PostgreSQL does not start\n{log.read_text(errors='replace')}")


def answers(process: subprocess.Popen[bytes], port: int) -> bool:
    """Waits until the server answers. Returns False if it has ended, or does not in time."""
    import psycopg

    end = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < end:
        with contextlib.suppress(psycopg.OperationalError):
            psycopg.connect(host="127.0.0.1", port=port, user=ROLE, dbname=DATABASE).close()
            return True
        time.sleep(0.05)
    return False


def stop_server(process: subprocess.Popen[bytes]) -> None:
    """Stops the server at once, whoever is connected."""
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGINT)  # its "fast shutdown"
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
