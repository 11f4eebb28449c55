"""What the user reads about an error, and how the ranks agree on who reports it."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest
import torch
from torch.distributed import HashStore

from utils import failure
from utils.errors import Problem, UserError
from utils.failure import report_failure, user_error_from
from utils.world import World

LOST = "[gloo/transport/tcp/pair.cc] Connection closed by peer"
TIMED_OUT = "[gloo/transport/tcp/unbound_buffer.cc] Timed out waiting 5000ms for recv"


@pytest.fixture(autouse=True)
def _quick_and_harmless(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Ranks wait for each other only briefly, and this process hears SIGTERM again afterwards."""
    monkeypatch.setattr(failure, "PATIENCE_SECONDS", 0.3)
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


# -- what the user can do ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "key", "text"),
    [
        (
            RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed."),
            "",
            "fewer num_workers need less: DataLoader worker (pid 7) is killed by signal",
        ),
        (
            RuntimeError("unable to allocate shared memory(shm) for file </torch_1>: No space …"),
            "data_loader",
            "/dev/shm has no space for the batches",
        ),
        (
            RuntimeError("Too many open files. Communication with the workers is no longer …"),
            "data_loader",
            "ulimit -n",
        ),
        (
            RuntimeError("label_smoothing must be between 0.0 and 1.0. Got: 2"),
            "loss.args",
            "between 0.0 and 1.0",
        ),
        (
            RuntimeError("element 0 of tensors does not require grad and does not have a grad_fn"),
            "loss",
            "without detach() or item()",
        ),
        (OSError(errno.EMFILE, "Too many open files"), "", "ulimit -n"),
        (OSError(errno.EDQUOT, "Disk quota exceeded", "a/b"), "", "Disk quota exceeded: 'a/b'"),
        (OSError(errno.EROFS, "Read-only file system", "a/b"), "", "Read-only file system: 'a/b'"),
        (
            RuntimeError("Expected to have finished reduction in the prior iteration before …"),
            "parallel.args.find_unused_parameters",
            "set find_unused_parameters: true",
        ),
        (
            RuntimeError("aten.addmm: got mixed torch.Tensor and DTensor, need to convert …"),
            "parallel.args.blocks",
            "without calling the block",
        ),
        (
            IndexError("Target 10 is out of bounds."),
            "loss",
            "Target 10 is out of bounds. The model has fewer outputs",
        ),
        (
            RuntimeError("only batches of spatial targets supported (3D tensors) but got …"),
            "loss",
            "it needs classes of shape (N,) or (N, H, W)",
        ),
        (
            RuntimeError("expected target dtype to be Long or Byte, but got Int"),
            "loss",
            "it needs classes of int64, for example by target.long()",
        ),
        (
            ValueError("Expected more than 1 value per channel when training, got input size …"),
            "data_loader",
            "set drop_last: true",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_known_error_of_a_library_names_the_setting_that_helps(
    error: Exception, key: str, text: str
) -> None:
    found = user_error_from(error)
    assert found is not None
    assert [problem.key for problem in found.problems] == [key]
    assert text in str(found)


def test_a_lack_of_memory_names_the_settings_that_need_less() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 55)
    text = str(user_error_from(caught.value))
    assert text.startswith("out of memory: ")
    for setting in ("batch_size", "accumulation_steps", "precision: bf16"):
        assert setting in text


@pytest.mark.parametrize(
    "text",
    [
        "CUDA error: out of memory",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
    ],
)
def test_a_lack_of_memory_in_a_library_of_cuda_is_one_too(text: str) -> None:
    assert str(user_error_from(RuntimeError(text))).startswith("out of memory: ")


def test_a_mistake_of_the_users_stays_as_it_is() -> None:
    error = UserError("is wrong", key="seed")
    assert user_error_from(error) is error


@pytest.mark.parametrize(
    "error", [RuntimeError("a bug"), ValueError("Target 10 is out of bounds."), KeyboardInterrupt()]
)
def test_any_other_error_is_none_of_the_users(error: BaseException) -> None:
    assert user_error_from(error) is None


# -- who reports -------------------------------------------------------------------------


def connected(rank: int, store: HashStore) -> World:
    world = World(rank, size=2, timeout_seconds=5, store=store)
    world.publish_activity()
    return world


def test_the_first_rank_reports_and_the_others_leave_with_its_status() -> None:
    store = HashStore()
    error = UserError([Problem("loss", "is wrong")])
    report_failure(error, connected(0, store))  # the caller raises the error itself
    with pytest.raises(SystemExit) as caught:
        report_failure(RuntimeError("a consequence"), connected(1, store))
    assert caught.value.code == 2


def test_a_rank_is_named_with_its_error_unless_it_is_the_main_one() -> None:
    with pytest.raises(UserError, match=r"^rank 1: the data is broken$"):
        report_failure(UserError("the data is broken"), connected(1, HashStore()))
    bug = ValueError("a bug")
    report_failure(bug, connected(1, HashStore()))
    assert bug.__notes__ == ["on rank 1"]


def test_what_the_user_can_do_about_a_librarys_error_is_reported() -> None:
    with pytest.raises(UserError, match="fewer outputs"):
        report_failure(IndexError("Target 10 is out of bounds."), connected(0, HashStore()))


@pytest.mark.parametrize(("error", "status"), [(ValueError(), 1), (KeyboardInterrupt(), 130)])
def test_the_status_is_that_of_a_process_by_itself(error: BaseException, status: int) -> None:
    store = HashStore()
    report_failure(error, connected(0, store))
    with pytest.raises(SystemExit) as caught:
        report_failure(ValueError(), connected(1, store))
    assert caught.value.code == status


def test_a_rank_that_lost_the_connection_lets_the_other_report_the_cause() -> None:
    store = HashStore()
    other = threading.Timer(0.1, store.compare_set, ("failed", "", "1 2"))
    other.start()
    with pytest.raises(SystemExit) as caught:
        report_failure(RuntimeError(LOST), connected(0, store))
    other.join()
    assert caught.value.code == 2


def test_a_rank_that_is_gone_is_named_with_what_it_was_doing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    store = HashStore()
    victim = connected(1, store)
    victim.activity = "the training of epoch 3"
    store.set("location1", json.dumps(["elsewhere", 12345, victim.activity]))
    with pytest.raises(SystemExit) as caught:
        report_failure(RuntimeError(LOST), connected(0, store))
    assert caught.value.code == 1
    expected = "rank 1 (elsewhere, process 12345) is gone, in the training of epoch 3\n"
    assert capsys.readouterr().err == expected


def test_a_rank_that_hangs_on_this_machine_is_named_and_killed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    store = HashStore()
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as sleeper:
        store.set("location1", json.dumps([socket.gethostname(), sleeper.pid, "the start"]))
        with pytest.raises(SystemExit):
            report_failure(RuntimeError(TIMED_OUT), connected(0, store))
        assert sleeper.wait(10) == -signal.SIGKILL
    assert f"process {sleeper.pid}) has not answered for 5 s" in capsys.readouterr().err


def test_a_rank_that_fails_as_well_is_not_missing(capsys: pytest.CaptureFixture[str]) -> None:
    store = HashStore()
    store.set("failing1", "")
    store.set("location1", json.dumps([socket.gethostname(), os.getpid(), "the start"]))
    with pytest.raises(SystemExit):
        report_failure(RuntimeError(LOST), connected(0, store))
    assert capsys.readouterr().err == LOST + "\n"


def test_a_rank_that_never_connected_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        report_failure(RuntimeError(LOST), connected(0, HashStore()))
    assert capsys.readouterr().err == "rank 1 has not connected\n"


def test_without_a_store_each_rank_reports_for_itself() -> None:
    start = time.monotonic()
    with pytest.raises(UserError, match=r"^rank 1: not all"):
        report_failure(UserError("not all"), World(rank=1, size=2))
    assert time.monotonic() - start < 0.2


def test_a_worker_that_is_killed_while_it_hands_over_a_tensor_is_one_line() -> None:
    def rebuild_storage_fd(error: Exception) -> None:  # of torch.multiprocessing.reductions
        raise error

    for error in (ConnectionResetError("reset by peer"), EOFError()):
        assert user_error_from(error) is None
        with pytest.raises(type(error)) as caught:
            rebuild_storage_fd(error)
        found = str(user_error_from(caught.value))
        assert found.startswith("a process that loads data was killed")
