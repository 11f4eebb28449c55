"""Tables: what is read from a CSV file, how it is scaled, and what is refused with its line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from base import BaseDataLoader
from base.data.target_transforms import Standardize
from data_loader.tables import CsvDataset
from utils.errors import UserError

TEXT = "area,town,price\n10,b,100\n20,a,200\n30,b,300\n50,a,400\n"


def write(tmp_path: Path, text: str = TEXT) -> str:
    path = tmp_path / "homes.csv"
    path.write_text(text)
    return str(path)


def test_numbers_are_scaled_by_the_training_rows_and_categories_have_columns(
    tmp_path: Path,
) -> None:
    dataset = CsvDataset(write(tmp_path), "price", categories=["town"])
    dataset.fit_to(np.array([0, 1, 2]))
    std = np.std([10, 20, 30])
    expected = torch.tensor([[-10 / std, 0, 1], [0, 1, 0], [10 / std, 0, 1], [30 / std, 1, 0]])
    assert torch.allclose(dataset.inputs, expected.float())
    assert dataset.targets.tolist() == [100, 200, 300, 400]


def test_new_rows_are_read_with_the_scales_of_the_training(tmp_path: Path) -> None:
    dataset = CsvDataset(write(tmp_path), "price", None, ["town"], None, Standardize())
    BaseDataLoader(dataset, 2)
    new = tmp_path / "new.csv"
    new.write_text("town,area\nc,20\n\nb,10\n")
    rows = dict(dataset.read(new))
    assert list(rows) == ["new.csv:2", "new.csv:4"]
    assert rows["new.csv:2"][1:].tolist() == [0, 0]  # no such town was known
    assert torch.equal(rows["new.csv:4"], dataset[0][0])


def test_a_target_of_texts_is_a_class(tmp_path: Path) -> None:
    dataset = CsvDataset(write(tmp_path), "town", numbers=["area"])
    assert dataset.classes == ["a", "b"]
    assert [int(target) for _, target in (dataset[index] for index in range(4))] == [1, 0, 1, 0]
    both = CsvDataset(write(tmp_path), ["price", "area"], categories=["town"])
    assert both[0][1].tolist() == [100, 10]


def test_a_row_that_cannot_be_read_gives_an_error_and_the_rest_is_read(tmp_path: Path) -> None:
    dataset = CsvDataset(write(tmp_path), "price", None, ["town"])
    BaseDataLoader(dataset, 2)
    new = tmp_path / "new.csv"
    new.write_text("town,area\nb,10\nb,wide\nb\na,\na,20\n")
    found = list(dataset.read(new))
    assert [name for name, _ in found] == [f"new.csv:{line}" for line in range(2, 7)]
    assert torch.equal(torch.as_tensor(found[0][1]), dataset[0][0])
    assert torch.equal(torch.as_tensor(found[4][1]), dataset[1][0])
    errors = [str(value).removeprefix(f"{new}:") for _, value in found[1:4]]
    assert errors == [
        "3: area: 'wide' is not a number",
        "4: has 1 cells for 2 columns",
        "5: area: is empty",
    ]


def test_a_category_that_the_training_does_not_have_gets_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = CsvDataset(write(tmp_path), "price", categories=["town"])
    BaseDataLoader(first, 2)
    other = CsvDataset(write(tmp_path, TEXT.replace(",a,", ",c,")), "price", categories=["town"])
    assert not caplog.messages
    other.fitted = first.fitted
    expected = "town: the training data have no 'c', so all its columns are 0 in 2 rows."
    assert caplog.messages == [expected]
    assert other.inputs[1, 1:].tolist() == [0, 0]


def test_other_data_have_the_columns_of_the_training_in_its_order(tmp_path: Path) -> None:
    first = CsvDataset(write(tmp_path, "area,rooms,price\n10,2,1\n20,4,2\n30,3,3\n"), "price")
    BaseDataLoader(first, 2)
    other = CsvDataset(write(tmp_path, "new,rooms,price,area\n9,4,1,10\n9,2,2,30\n"), "price")
    other.fitted = first.fitted
    assert other.inputs.shape == (2, 2)
    assert torch.allclose(other.inputs[0], torch.stack([first.inputs[0, 0], first.inputs[1, 1]]))
    lacking = CsvDataset(write(tmp_path, "rooms,price\n4,1\n"), "price")
    with pytest.raises(UserError, match=r"^numbers: the training data have 'area' among them"):
        lacking.fitted = first.fitted


def test_a_constant_column_is_not_divided_by_a_rounding_error(tmp_path: Path) -> None:
    rows = "".join(f"0.1,{row},{row}\n" for row in range(1000))
    dataset = CsvDataset(write(tmp_path, f"same,area,price\n{rows}"), "price")
    dataset.fit_to(np.arange(1000))
    assert dataset.fitted is not None
    assert dataset.fitted["std"][0] == 1
    assert dataset.inputs[:, 0].abs().max() < 1e-6


def test_a_target_that_has_changed_changes_the_fit(tmp_path: Path) -> None:
    found = [
        CsvDataset(write(tmp_path, text), "price", categories=["town"])
        for text in (TEXT, TEXT.replace("300", "301"))
    ]
    for dataset in found:
        BaseDataLoader(dataset, 2)
    assert found[0].fitted != found[1].fitted


def test_classes_may_be_named_if_a_table_does_not_have_all(tmp_path: Path) -> None:
    path = write(tmp_path)
    dataset = CsvDataset(path, "town", ["area"], classes=["a", "b", "c"])
    assert dataset.classes == ["a", "b", "c"]
    with pytest.raises(UserError, match=r"homes.csv:2: town: 'b' is none of the classes a"):
        CsvDataset(path, "town", ["area"], classes=["a"])


def test_columns_without_a_name_are_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    dataset = CsvDataset(write(tmp_path, ",area,price\n0,10,1\n1,20,2\n"), "price")
    assert dataset.numbers == ["area"]
    assert "columns without a name are left out: 1" in caplog.text


def test_decimal_commas_are_read_where_the_config_says_so(tmp_path: Path) -> None:
    path = write(tmp_path, 'area;"size, m";price\n1,5;2;3\n-2;3,25;4\n')
    dataset = CsvDataset(path, "price", decimal=",")
    dataset.fit_to(np.arange(2))
    assert dataset.fitted is not None
    assert dataset.fitted["mean"] == [-0.25, 2.625]
    with pytest.raises(UserError, match=r"area: '1,5' is not a number; thousands .* set decimal"):
        CsvDataset(path, "price")
    with pytest.raises(UserError, match=r"price: '1.234,5' is not a number; thousands must have"):
        CsvDataset(write(tmp_path, "area;price\n1;1.234,5\n"), "price", decimal=",")


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_semicolons_and_tabs_divide_cells_too(tmp_path: Path, delimiter: str) -> None:
    plain = CsvDataset(write(tmp_path), "price", categories=["town"])
    found = CsvDataset(write(tmp_path, TEXT.replace(",", delimiter)), "price", categories=["town"])
    assert torch.equal(found.inputs, plain.inputs)


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (TEXT.replace("30,", "3o,"), {}, r"homes.csv:4: area: '3o' is not a number"),
        (TEXT.replace("300", ""), {}, r"homes.csv:4: price: is empty"),
        (TEXT, {"categories": []}, r"town: 'b' is not a number, as in 3 more rows; name it in cat"),
        (TEXT + "1,a\n", {}, r"homes.csv:6: has 2 cells for 3 columns"),
        (TEXT, {"target": "prize"}, r"no column 'prize' \(did you mean 'price'\?\)"),
        (TEXT, {"categories": ["twon"]}, r"^categories: .*no column 'twon'"),
        (TEXT, {"numbers": ["price"]}, r"^target: 'price' is the target"),
        ("area,area\n1,2\n", {}, r"two columns have the name 'area'"),
        ("area,price\n", {}, r"has no rows"),
        ("", {}, r"its first line is empty"),
        (TEXT.replace("100", ""), {}, r"homes.csv:2: price: is empty"),
        (TEXT.replace("100", "1e39"), {}, r"homes.csv:2: price: '1e39' is not a number"),
        (TEXT.replace("100", "1_00"), {}, r"homes.csv:2: price: '1_00' is not a number"),
        (TEXT.replace("20,a", "20,"), {"target": "town", "categories": []}, r"3: town: is empty"),
        (TEXT, {"classes": ["a"], "classify": False}, r"^classes: a target of numbers has none"),
    ],
)
def test_a_fault_is_named_with_its_line_and_column(
    tmp_path: Path, text: str, options: dict[str, Any], message: str
) -> None:
    given: dict[str, Any] = {"target": "price", "categories": ["town"]} | options
    with pytest.raises(UserError, match=message):
        CsvDataset(write(tmp_path, text), **given)


def test_a_file_in_another_encoding_is_refused_in_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "homes.csv"
    path.write_bytes("Größe,price\n1,2\n".encode("cp1252"))
    with pytest.raises(UserError, match=r"homes.csv: is not in UTF-8; save it in this encoding"):
        CsvDataset(str(path), "price")
