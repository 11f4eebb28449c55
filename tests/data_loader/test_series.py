"""Windows of series, and the report of their forecasts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from base import BaseDataLoader
from base.data.target_transforms import Standardize
from base.loop.collector import Collection
from base.tools.page import Page
from base.tools.samples import Samples
from base.tools.views.register import make_view
from base.tools.views.series import SeriesView
from data_loader.series import CsvSeries, WindowDataset
from model.series import MLPForecaster
from utils.errors import UserError


@pytest.mark.parametrize("n_channels", [1, 2])
def test_a_window_has_its_history_and_the_steps_after_it(n_channels: int) -> None:
    series = np.arange(20.0 * n_channels).reshape(20, n_channels)
    dataset = WindowDataset(series[:, 0] if n_channels == 1 else series, 4, 3, stride=2)
    assert len(dataset) == 7
    history, target = dataset[2]
    assert np.array_equal(history, series[4:8])
    assert np.array_equal(target, series[8:11, 0] if n_channels == 1 else series[8:11])
    assert MLPForecaster(4, 3, n_channels)(history[None]).shape == (1, *target.shape)
    assert np.array_equal(dataset.get_history(2).reshape(4, -1), series[4:8])


def test_a_series_that_is_too_short_or_has_gaps_is_refused() -> None:
    with pytest.raises(UserError, match=r"^history: the series has 5 steps"):
        WindowDataset(np.arange(5.0), 4, 3)
    with pytest.raises(UserError, match="1 steps that are not finite numbers"):
        WindowDataset(np.array([1.0, np.nan, 2.0]), 1, 1)


def test_the_last_window_of_a_file_is_read_as_the_model_sees_it(tmp_path: Path) -> None:
    path = tmp_path / "load.csv"
    path.write_text("load\n" + "\n".join(map(str, range(20))))
    dataset = CsvSeries(str(path), ["load"], 4, 2, target_transform=Standardize())
    BaseDataLoader(dataset, 4)
    ((name, values),) = dataset.read(path)
    assert name == "load.csv"
    assert dataset.target_transform.inverse(values[:, 0]).tolist() == [16, 17, 18, 19]


def test_a_folder_has_an_input_for_each_file_and_an_error_for_one_that_is_too_short(
    tmp_path: Path,
) -> None:
    train = tmp_path / "train.csv"
    train.write_text("time,load\n" + "".join(f"2024-{i},{i}\n" for i in range(20)))
    dataset = CsvSeries(str(train), ["load"], 4, 2)
    (tmp_path / "short.csv").write_text("load\n1\n")
    found = dict(dataset.read(tmp_path))
    assert list(found) == ["short.csv", "train.csv"]
    assert "has 1 rows, and the model needs the last 4 steps" in str(found["short.csv"])
    assert np.array_equal(found["train.csv"], [[16], [17], [18], [19]])


HOURS = [f"2024-03-31 {hour:02}:00" for hour in range(20)]


def write_hours(tmp_path: Path, hours: list[str]) -> str:
    path = tmp_path / "hours.csv"
    path.write_text("time,load\n" + "".join(f"{hour},{i}\n" for i, hour in enumerate(hours)))
    return str(path)


@pytest.mark.parametrize(
    ("hours", "message"),
    [
        (
            [HOURS[1], HOURS[0], *HOURS[2:]],
            r"hours.csv:3: time: 2024-03-31 00:00 is not later than",
        ),
        ([HOURS[0], *HOURS], r"hours.csv:3: time: 2024-03-31 00:00 is not later than"),
        ([*HOURS, "31.03.2024 20:00"], r"time: '31.03.2024 20:00' is neither a time"),
    ],
)
def test_times_that_do_not_rise_are_an_error_or_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, hours: list[str], message: str
) -> None:
    path = write_hours(tmp_path, hours)
    with pytest.raises(UserError, match=message):
        CsvSeries(path, ["load"], 4, time="time")
    assert not caplog.messages
    dataset = CsvSeries(path, ["load"], 4)
    assert message.split(": ")[1] in caplog.text
    dataset.time = "time"
    ((_, found),) = dataset.read(path)
    assert isinstance(found, UserError)


def test_a_gap_gets_a_warning_and_times_with_an_offset_have_none(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    summer = ["2024-03-31 01:00+01:00", "2024-03-31 03:00+02:00", "2024-03-31 04:00+02:00"]
    for hours in (HOURS, summer, [str(hour) for hour in range(9)]):
        CsvSeries(write_hours(tmp_path, hours), ["load"], 1, time="time")
    assert not caplog.messages
    CsvSeries(write_hours(tmp_path, [*HOURS[:4], *HOURS[6:]]), ["load"], 1)
    assert "hours.csv:6: time: 1 steps are longer than 1:00:00. Windows span" in caplog.text


@pytest.mark.parametrize("n_channels", [1, 2])
def test_the_report_compares_each_step_with_naive_forecasts(n_channels: int) -> None:
    series = np.tile(np.arange(4.0), 20)
    values = series if n_channels == 1 else np.stack([series, series + 5], 1)
    loader = BaseDataLoader(
        WindowDataset(values, 4, 3, season=4), 8, validation_split=8, validation_split_by="time"
    )
    valid = loader.split_validation()
    assert valid is not None
    collection = Collection()
    for _, target in valid:
        collection.add(target + 1, target, len(target))
    view = make_view(collection, Samples(valid))
    assert isinstance(view, SeriesView)
    errors = view.measure_steps()
    assert errors["model"] == [1, 1, 1]
    assert errors["last season"] == [0, 0, 0]
    assert errors["last value"][0] > 1
    page = Page("", "")
    view.add_to(page, "")
    assert page.to_html().count("<svg") >= 7
    assert len(view.list_predictions()) == 9
