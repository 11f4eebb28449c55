"""Rows 3 and 4: a save that is killed at any of its calls leaves the old or the new checkpoint; and their order."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time

import pytest

from tests.torture.harness import environment, project, small, times
from tests.torture.kill_runs import Reference, reference
from utils.checkpoints import list_checkpoints

# Of each save: its number in the run, the trainer's options, the hooks, and how many writes are between two kills.
SAVES = {
    "of a finished epoch, the best": (4, {}, {}, times(1, 200)),
    "within an epoch": (6, {}, {}, times(20, 240)),
    "that drops older ones": (8, {"keep_last": 2}, {}, times(20, 240)),
    "without hard links": (4, {}, {"no_links": True}, times(20, 240)),
}
ORDER = [
    "epoch1-step3",
    "epoch1-step6",
    "epoch1-step9",
    "epoch1",
    "epoch2-step13",
    "epoch2-step16",
    "epoch2-step19",
]
ORDER = [f"checkpoint-{name}.pt" for name in [*ORDER, "epoch2"]]  # of a run's first saves


def calls_of_save(config: str, run_id: str, save: int, **hooks: object) -> list[str]:
    """What a save asks of files, in its order, as ``name file``."""
    calls = project().folder / f"{run_id}.calls"
    done = project().run(
        "train.py", "-c", config, "--run-id", run_id, save=save, calls=str(calls), **hooks
    )
    assert done.code == 0, done.err
    return calls.read_text().splitlines()


def killed_at(run: Reference, run_id: str, save: int, call: int, hooks: dict[str, object]) -> None:
    """Kills a run at a call of a save; there must be the old or the new checkpoint, and the same end."""
    words = ["train.py", "-c", run.config, "--run-id", run_id]
    killed = project().run(*words, save=save, exit_at=call, **hooks)
    assert killed.code == 9, f"status {killed.code}\n{killed.err[-1000:]}"
    run.compare(run_id)
    found = list_checkpoints(project().run_folder(run_id))
    assert found, "no checkpoint"
    assert found[0].name in ORDER[save - 2 : save], f"the newest is {found[0].name}"
    run.finish(run_id)


def test_a_save_killed_at_any_call_leaves_the_old_or_the_new_checkpoint():
    start, failures, count = time.monotonic(), [], 0
    for index, (what, (save, options, hooks, step)) in enumerate(SAVES.items()):
        run = Reference(project(), f"row3-{index}", **options) if options else reference("plain")
        calls = calls_of_save(run.config, f"row3-{index}-calls", save, **hooks)
        writes = [place for place, call in enumerate(calls, 1) if call.startswith("write")]
        assert len(writes) > 100
        others = [place for place in range(1, len(calls) + 1) if place not in writes]
        for place in sorted(writes[step // 2 :: step] + others[:: times(1, 2)]):
            count += 1
            try:
                killed_at(run, f"row3-{index}-{place}", save, place, hooks)
            except AssertionError as error:
                failures.append(
                    f"a save {what}, killed at call {place}, {calls[place - 1]}: {error}"
                )
    print(
        f"row 3: kill at a call of a save, {count} times, {len(failures)} failures, {time.monotonic() - start:.0f} s"
    )
    assert not failures, "\n".join(failures)


def in_order(calls: list[str], *patterns: str) -> None:
    """Each pattern matches a call after the one before it did."""
    place = -1
    for pattern in patterns:
        later = [
            index for index, call in enumerate(calls) if index > place and re.search(pattern, call)
        ]
        assert later, f"no {pattern} after call {place} of:\n" + "\n".join(calls)
        place = later[0]


def test_a_save_syncs_the_file_renames_it_syncs_the_folder_and_then_deletes():
    config = project().config("row4-calls", small(keep_last=2))
    calls = [
        call for call in calls_of_save(config, "row4-calls", 8) if not call.startswith("write")
    ]
    new, folder = r"\.checkpoint-epoch2\.pt.*tmp$", "fsync row4-calls"
    in_order(
        calls,
        f"fsync {new}",
        f"re(place|name) {new}",
        folder,
        r"replace \.model_best",
        folder,
        "unlink checkpoint",
    )
    assert [call for call in calls if call.startswith("unlink checkpoint")] == calls[-1:]


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not here")
@pytest.mark.parametrize("async_save", [False, True])
def test_the_kernel_sees_the_same_order(async_save):
    run_id = f"row4-{async_save}"
    config = project().config(
        run_id, small(epochs=2, save_steps=None, keep_last=1, async_save=async_save)
    )
    trace = project().folder / f"{run_id}.trace"
    strace = ["strace", "-f", "-y", "-o", trace, "-e", "trace=/^(fsync|fdatasync|rename|unlink).*"]
    command = [*strace, sys.executable, "train.py", "-c", config, "--run-id", run_id]
    done = subprocess.run(
        command,
        cwd=project().folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    if "Operation not permitted" in done.stderr and "ptrace" in done.stderr.lower():
        pytest.skip("strace may not trace here")
    assert done.returncode == 0, done.stderr
    calls = [line.split(" ", 1)[1] for line in trace.read_text().splitlines() if run_id in line]
    folder = rf"fsync\(\d+<[^>]*/{run_id}>"
    for epoch in (1, 2):
        name = rf"checkpoint-epoch{epoch}\.pt"
        in_order(calls, rf"f(data)?sync.*/\.{name}\.\d+\.tmp>", rf"rename.*tmp.*/{name}\"", folder)
    renamed = next(
        index
        for index, call in enumerate(calls)
        if re.search(r"rename.*/checkpoint-epoch2\.pt\"", call)
    )
    in_order(calls[renamed:], folder, r"unlink.*/checkpoint-epoch1\.pt\"")
    assert not [call for call in calls[:renamed] if re.search(r"unlink.*/checkpoint", call)]
    print(f"row 4: order of system calls of a save (async {async_save}), 1 time, 0 failures")
