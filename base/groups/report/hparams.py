"""TensorBoard's HPARAMS table: a small event file for each trial of a search.

``tensorboard --logdir saved/digits/lr`` then shows all trials in one table. The files are written
record by record: torch's writer starts a thread for each file, and imports TensorFlow if that is
installed.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from base.groups.plan.space import Space, label
from base.groups.study.records import FAILED, FINISHED, RUNNING, TrialRecord
from base.tools.run_record import Objective
from config.read.text import to_cell
from utils.errors import UserError
from utils.files import atomic_write

FILE_NAME = "events.out.tfevents.0.trial"  # TensorBoard reads files with ``tfevents`` in the name
FILE_VERSION = "brain.Event:2"


def write_hparams(folder: Path, trial: TrialRecord, objective: Objective, space: Space) -> Path:
    """Writes ``hparams/trial-N/events…``. A second call for the same trial replaces the file.

    The table has a column for each key of the space, and one for the monitored number. Its status
    is Success for a finished trial, Failure for a failed one and Unknown for a pruned one.

    Args:
        folder: of the search.
        trial: a trial in any state.
        objective: names the monitored number.
        space: its keys. A value that the trial does not have is left out.

    Returns:
        The file.

    Raises:
        UserError: it cannot be written.
    """
    from tensorboard.summary.writer.record_writer import RecordWriter

    path = folder / "hparams" / trial.name / FILE_NAME
    events = _make_events(trial, objective, space)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as file:
            writer = RecordWriter(file)
            for event in events:
                writer.write(event.SerializeToString())
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}") from None
    return path


def _make_events(trial: TrialRecord, objective: Objective, space: Space) -> list[Any]:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams import metadata

    started = trial.started.timestamp() if trial.started else 0.0
    ended = trial.ended.timestamp() if trial.ended else started
    contents = {
        metadata.SESSION_START_INFO_TAG: _make_start(trial, space, started),
        metadata.SESSION_END_INFO_TAG: _make_end(trial, ended),
    }
    values = [
        Summary.Value(tag=tag, metadata=metadata.create_summary_metadata(content))
        for tag, content in contents.items()
    ]
    summaries = [Event(wall_time=ended, summary=Summary(value=[value])) for value in values]
    if trial.score is not None and math.isfinite(trial.score):
        value = Summary.Value(tag=objective.metric, simple_value=trial.score)
        step = max(trial.reports, default=0)
        summaries.append(Event(wall_time=ended, step=step, summary=Summary(value=[value])))
    return [Event(wall_time=started, file_version=FILE_VERSION), *summaries]


def _make_start(trial: TrialRecord, space: Space, started: float) -> Any:
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionStartInfo

    start = SessionStartInfo(group_name=trial.name, start_time_secs=started)
    for key in space:
        if key not in trial.values:
            continue
        value = label(trial.values[key])
        if isinstance(value, bool):
            start.hparams[key].bool_value = value
        elif isinstance(value, int | float) and math.isfinite(value):  # JSON has no infinity
            start.hparams[key].number_value = value
        else:
            start.hparams[key].string_value = value if isinstance(value, str) else to_cell(value)
    return HParamsPluginData(session_start_info=start)


def _make_end(trial: TrialRecord, ended: float) -> Any:
    from tensorboard.plugins.hparams import api_pb2
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo

    states = {
        RUNNING: api_pb2.STATUS_RUNNING,
        FINISHED: api_pb2.STATUS_SUCCESS,
        FAILED: api_pb2.STATUS_FAILURE,
    }
    status = states.get(trial.state, api_pb2.STATUS_UNKNOWN)
    return HParamsPluginData(session_end_info=SessionEndInfo(status=status, end_time_secs=ended))
