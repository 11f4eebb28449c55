"""TensorBoard's HPARAMS table, read by TensorBoard's own back end."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from base.groups.plan.space import Choices, Range
from base.groups.report.hparams import write_hparams
from base.groups.study.records import FAILED, FINISHED, PRUNED, RUNNING, TrialRecord
from tests.base.groups.report.trial_records import ACCURACY, SPACE, START, make_trials
from utils.errors import UserError

ALL_STATUSES = ["STATUS_SUCCESS", "STATUS_UNKNOWN", "STATUS_FAILURE", "STATUS_RUNNING"]


def read_table(folder: Path) -> dict[str, dict[str, Any]]:
    """The rows of the HPARAMS table by trial: its values, its metrics, and its status."""
    from tensorboard.backend.event_processing import data_provider, plugin_event_multiplexer
    from tensorboard.context import RequestContext
    from tensorboard.plugins import base_plugin
    from tensorboard.plugins.hparams import api_pb2, backend_context, list_session_groups

    multiplexer = plugin_event_multiplexer.EventMultiplexer()
    multiplexer.AddRunsFromDirectory(str(folder))
    multiplexer.Reload()
    provider = data_provider.MultiplexerDataProvider(multiplexer, str(folder))
    context = backend_context.Context(base_plugin.TBContext(data_provider=provider))
    request = api_pb2.ListSessionGroupsRequest(
        allowed_statuses=[api_pb2.Status.Value(name) for name in ALL_STATUSES], slice_size=1000
    )
    handler = list_session_groups.Handler(RequestContext(), context, "", request)
    rows = {}
    for group in handler.run().session_groups:
        (session,) = group.sessions
        row = {
            key: getattr(value, value.WhichOneof("kind")) for key, value in group.hparams.items()
        }
        row |= {metric.name.tag: metric.value for metric in session.metric_values}
        row["status"] = api_pb2.Status.Name(session.status)
        row["seconds"] = session.end_time_secs - session.start_time_secs
        rows[group.name] = row
    return rows


def test_all_trials_of_a_search_are_in_one_table(tmp_path: Path) -> None:
    trials = make_trials(12)
    for trial in trials:
        write_hparams(tmp_path, trial, ACCURACY, SPACE)
    rows = read_table(tmp_path)
    assert set(rows) == {f"trial-{number}" for number in range(12)}
    row, trial = rows["trial-0"], trials[0]
    assert row["optimizer.args.lr"] == trial.values["optimizer.args.lr"]
    assert row["data_loader.args.batch_size"] == trial.values["data_loader.args.batch_size"]
    assert trial.values["arch"]["type"] in row["arch"]
    assert row["val_accuracy"] == pytest.approx(trial.score)
    assert (row["status"], row["seconds"]) == ("STATUS_SUCCESS", 90)
    assert rows["trial-5"]["status"] == "STATUS_UNKNOWN"  # pruned
    assert rows["trial-8"]["status"] == "STATUS_FAILURE"
    assert "val_accuracy" not in rows["trial-8"]


def test_writing_a_trial_again_replaces_its_row(tmp_path: Path) -> None:
    running = TrialRecord(3, RUNNING, {"lr": 0.5}, started=START)
    finished = TrialRecord(3, FINISHED, {"lr": 0.5}, 0.75, {1: 0.5, 2: 0.75}, "", START, START)
    for trial in (running, finished):
        path = write_hparams(tmp_path, trial, ACCURACY, {"lr": Range(0.0, 1.0)})
        assert list(tmp_path.glob("hparams/*/*")) == [path]
    row = {"lr": 0.5, "val_accuracy": 0.75, "status": "STATUS_SUCCESS", "seconds": 0}
    assert read_table(tmp_path) == {"trial-3": row}


def test_every_kind_of_value_has_a_cell(tmp_path: Path) -> None:
    values = {"flag": True, "none": None, "text": "<b>", "list": [1, 2], "endless": math.inf}
    space = {key: Choices([value]) for key, value in values.items()}
    trial = TrialRecord(0, PRUNED, values, math.nan)
    write_hparams(tmp_path, trial, ACCURACY, space | {"missing": Range(0, 1)})
    (row,) = read_table(tmp_path).values()
    assert row["flag"] is True
    assert (row["none"], row["text"], row["endless"]) == ("null", "<b>", ".inf")
    assert "1, 2" in row["list"]
    assert set(row) == {*values, "status", "seconds"}  # a score that is NaN is none


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "hparams").write_text("a file")
    with pytest.raises(UserError, match="cannot be written"):
        write_hparams(tmp_path, TrialRecord(0, FAILED, {}), ACCURACY, {})
