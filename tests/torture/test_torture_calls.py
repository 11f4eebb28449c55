"""Rows 3 and 4: a save that is killed at any of its calls leaves the old or the new checkpoint."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time

import pytest

from tests.torture.harness import environment, make_config, project, report, times
from tests.torture.hooks import EXIT_STATUS
from tests.torture.kill_runs import Reference, reference
from utils.checkpoints import list_checkpoints

# Of each save: its number in the run, options of the trainer, hooks, and the number of writes from
# one kill to the next.
SAVES = {
    "of an epoch, the best": (4, {}, {}, times(1, 200)),
    "inside an epoch": (6, {}, {}, times(20, 240)),
    "that deletes older ones": (8, {"keep_last": 2}, {}, times(20, 240)),
    "without hard links": (4, {}, {"no_links": True}, times(20, 240)),
}
FIRST_SAVES = [  # of a run, in order
    "checkpoint-epoch1-step3.pt",
    "checkpoint-epoch1-step6.pt",
    "checkpoint-epoch1-step9.pt",
    "checkpoint-epoch1.pt",
    "checkpoint-epoch2-step13.pt",
    "checkpoint-epoch2-step16.pt",
    "checkpoint-epoch2-step19.pt",
    "checkpoint-epoch2.pt",
]


def list_calls(config: str, run_id: str, save: int, **hooks: object) -> list[str]:
    """The calls on files of a save, in order, as ``name file``."""
    calls = project().folder / f"{run_id}.calls"
    words = ["train.py", "-c", config, "--run-id", run_id]
    done = project().run(*words, save=save, calls=str(calls), **hooks)
    assert done.code == 0, done.err
    return calls.read_text().splitlines()


def kill_at_call(run: Reference, run_id: str, save: int, call: int, hooks: dict) -> None:
    """Kills a run at a call of a save: the old or the new checkpoint is there, and the same end."""
    words = ["train.py", "-c", run.config, "--run-id", run_id]
    killed = project().run(*words, save=save, exit_at=call, **hooks)
    assert killed.code == EXIT_STATUS, f"status {killed.code}\n{killed.err[-1000:]}"
    run.compare(run_id)
    found = list_checkpoints(project().run_folder(run_id))
    assert found, "no checkpoint"
    assert found[0].name in FIRST_SAVES[save - 2 : save], f"the newest is {found[0].name}"
    run.finish(run_id)


def test_a_save_killed_at_any_call_leaves_the_old_or_the_new_checkpoint():
    start, failures, count = time.monotonic(), [], 0
    for index, (title, (save, options, hooks, step)) in enumerate(SAVES.items()):
        run = Reference(project(), f"row3-{index}", **options) if options else reference("plain")
        calls = list_calls(run.config, f"row3-{index}-calls", save, **hooks)
        writes = [number for number, call in enumerate(calls, 1) if call.startswith("write")]
        assert len(writes) > 100
        others = [number for number in range(1, len(calls) + 1) if number not in writes]
        for number in sorted(writes[step // 2 :: step] + others[:: times(1, 2)]):
            count += 1
            try:
                kill_at_call(run, f"row3-{index}-{number}", save, number, hooks)
            except AssertionError as error:
                call = f"call {number}, {calls[number - 1]}"
                failures.append(f"a save {title}, killed at {call}: {error}")
    report(3, "kill at a call of a save", count, failures, start)


def check_order(calls: list[str], *patterns: str) -> None:
    """Each pattern matches a call after the match of the pattern before it."""
    left = iter(calls)
    for pattern in patterns:
        found = any(re.search(pattern, call) for call in left)  # which takes the calls before it
        assert found, f"no {pattern} in its place in:\n" + "\n".join(calls)


def test_a_save_syncs_the_file_renames_it_syncs_the_folder_and_then_deletes():
    config = project().config("row4-calls", make_config(keep_last=2))
    calls = list_calls(config, "row4-calls", 8)
    calls = [call for call in calls if not call.startswith("write")]
    new, folder = r"\.checkpoint-epoch2\.pt.*tmp$", "fsync row4-calls"
    renames = [f"fsync {new}", f"re(place|name) {new}", folder]
    check_order(calls, *renames, r"replace \.model_best", folder, "unlink checkpoint")
    assert [call for call in calls if call.startswith("unlink checkpoint")] == calls[-1:]


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not here")
@pytest.mark.parametrize("async_save", [False, True])
def test_the_kernel_sees_the_same_order(async_save):
    run_id = f"row4-{async_save}"
    options = {"epochs": 2, "save_steps": None, "keep_last": 1, "async_save": async_save}
    config = project().config(run_id, make_config(**options))
    calls = [call for call in trace_calls(config, run_id) if run_id in call]
    folder = rf"fsync\(\d+<[^>]*/{run_id}>"
    for epoch in (1, 2):
        name = rf"checkpoint-epoch{epoch}\.pt"
        rename = rf"rename.*tmp.*/{name}\""
        check_order(calls, rf"f(data)?sync.*/\.{name}\.\d+\.tmp>", rename, folder)
    renames = [bool(re.search(r"rename.*/checkpoint-epoch2\.pt\"", call)) for call in calls]
    renamed = renames.index(True)
    check_order(calls[renamed:], folder, r"unlink.*/checkpoint-epoch1\.pt\"")
    assert not [call for call in calls[:renamed] if re.search(r"unlink.*/checkpoint", call)]
    print(f"row 4: order of system calls of a save (async {async_save}), 1 time, 0 failures")


def trace_calls(config: str, run_id: str) -> list[str]:
    """The system calls of a run that sync, rename and delete files."""
    trace = project().folder / f"{run_id}.trace"
    strace = ["strace", "-f", "-y", "-o", trace, "-e", "trace=/^(fsync|fdatasync|rename|unlink).*"]
    done = subprocess.run(
        [*strace, sys.executable, "train.py", "-c", config, "--run-id", run_id],
        cwd=project().folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if "Operation not permitted" in done.stderr and "ptrace" in done.stderr.lower():
        pytest.skip("strace may not trace here")
    assert done.returncode == 0, done.stderr
    return [line.split(" ", 1)[1] for line in trace.read_text().splitlines()]
