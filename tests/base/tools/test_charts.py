"""Charts: SVG that is small, safe and reproducible; pixels; and odd data."""

from __future__ import annotations

import math
import random
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from base.tools.charts import (
    LineChart,
    draw_confusion_matrix,
    draw_lines,
    draw_scatter,
    to_pixels,
    to_svg,
)
from tests.helpers import ROOT

LOSS = LineChart("loss", {"loss": [(1, 2.0), (2, 1.0)], "val_loss": [(1, 2.5)]}, "epoch")
COUNTS = np.array([[3, 1], [0, 2]])


def words_of(svg: str) -> list[str]:
    """The text in a picture, which must be well-formed XML."""
    tree = ElementTree.fromstring(svg)
    return [element.text or "" for element in tree.iter("{http://www.w3.org/2000/svg}text")]


def test_text_in_an_svg_is_text() -> None:
    words = words_of(to_svg(draw_lines([LOSS])))
    assert {"loss", "val_loss", "epoch", "1", "2"} <= set(words)


def test_an_svg_for_a_page_takes_the_colour_of_the_page_and_a_file_is_dark_on_white() -> None:
    in_page, in_file = to_svg(draw_lines([LOSS])), to_svg(draw_lines([LOSS]), is_standalone=True)
    assert "currentColor" in in_page
    assert "#ffffff" not in in_page
    assert "currentColor" not in in_file
    assert "#ffffff" in in_file


def run_code(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs code in a process of its own, which has drawn nothing yet."""
    command = [sys.executable, "-c", "import numpy as np\nfrom base.tools.charts import *\n" + code]
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


def test_the_same_drawing_is_the_same_text_in_another_process() -> None:
    code = """
chart = LineChart("loss", {"loss": [(1, 2.0), (2, 1.0)], "val_loss": [(1, 2.5)]}, "epoch")
print(to_svg(draw_confusion_matrix(np.eye(2, dtype=int), "ab")), to_svg(draw_lines([chart])))
"""
    first, second = (run_code(code, PYTHONHASHSEED=seed) for seed in "12")
    assert first.returncode == 0, first.stderr
    assert first.stdout == second.stdout
    assert not re.search(r"20\d\d-\d\d|matplotlib|/root|/home|/tmp|/usr", first.stdout)


def test_names_in_one_page_do_not_collide() -> None:
    """Charts in a page may share a name only where it stands for the same thing."""
    svgs = [to_svg(draw_lines([LOSS._replace(title=title)])) for title in ("a", "b")]
    svgs.append(to_svg(draw_confusion_matrix(COUNTS, ["a", "b"])))
    meanings: dict[str, set[str]] = {}
    for svg in svgs:
        for element in ElementTree.fromstring(svg).iter():
            if "id" in element.attrib and not element.tag.endswith("image"):
                text = ElementTree.tostring(element, encoding="unicode").strip()
                meanings.setdefault(element.attrib["id"], set()).add(text)
    assert meanings
    assert [name for name, texts in meanings.items() if len(texts) > 1] == []


def test_names_are_neither_markup_nor_formulas() -> None:
    names = ["<script>", "$x", "_hidden", "a\x1bb", "x" * 100, "中文"]
    series = {name: [(1.0, 1.0), (2.0, float(number))] for number, name in enumerate(names)}
    svg = to_svg(draw_lines([LineChart("<b> $y", series, "$t")]))
    assert "<script>" not in svg
    words = words_of(svg)
    assert {"<b> $y", "$t", "<script>", "$x", "_hidden", "a?b", "中文"} <= set(words)
    assert "x" * 23 + "…" in words
    matrix = words_of(to_svg(draw_confusion_matrix(np.eye(6, dtype=int), names)))
    assert {"<script>", "$x", "_hidden", "a?b", "中文"} <= set(matrix)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_point_that_is_not_finite_leaves_a_gap(bad: float) -> None:
    figure = draw_lines([LineChart("loss", {"loss": [(1, 1.0), (2, bad), (3, 3.0)]}, "epoch")])
    assert figure is not None
    (line,) = figure.axes[0].lines
    assert np.isnan(line.get_ydata()).tolist() == [False, True, False]
    to_svg(figure)


def test_charts_without_a_finite_point_are_left_out() -> None:
    empty = LineChart("empty", {"loss": [(1, math.nan)], "other": []}, "epoch")
    assert draw_lines([empty]) is None
    assert draw_scatter("points", [(math.nan, 1.0)], "x", "y") is None
    assert to_svg(None) == ""
    figure = draw_lines([empty, LOSS])
    assert figure is not None
    assert len(figure.axes) == 1


@pytest.mark.parametrize(
    "values",
    [[0.0], [0.5] * 3, [1e-300, 1e300], [-1.7e308, 1.7e308], [1e-9, 1.0], [10**400 // 10**300]],
)
@pytest.mark.parametrize("is_log", [False, True])
def test_numbers_of_any_size_can_be_drawn(values: list[float], is_log: bool) -> None:
    points = [(float(epoch), value) for epoch, value in enumerate(values, 1)]
    chart = LineChart("loss", {"loss": points}, "epoch", log_x=is_log, log_y=is_log)
    assert words_of(to_svg(draw_lines([chart])))
    assert words_of(to_svg(draw_scatter("points", points, "x", "y")))


def test_epochs_are_integers_and_losses_are_written_in_full() -> None:
    points = [(epoch, 0.00001 * epoch) for epoch in range(1, 4)]
    words = words_of(to_svg(draw_lines([LineChart("loss", {"loss": points}, "epoch")])))
    assert {"1", "2", "3", "1e-05", "2e-05", "3e-05"} <= set(words)
    assert "1.5" not in words


def test_a_logarithmic_axis_has_round_numbers() -> None:
    points = [(epoch, 10.0**-epoch) for epoch in range(4)]
    chart = LineChart("loss", {"loss": points}, "epoch", log_y=True)
    assert {"1", "0.1", "0.01", "0.001"} <= set(words_of(to_svg(draw_lines([chart]))))


def test_several_charts_stand_in_one_picture() -> None:
    svg = to_svg(draw_lines([LOSS._replace(title=title) for title in "abc"]), is_standalone=True)
    assert {"a", "b", "c"} <= set(words_of(svg))


def test_many_points_are_a_small_picture() -> None:
    draw = random.Random(0)
    points = [(draw.random(), draw.random()) for _ in range(2000)]
    svg = to_svg(draw_scatter("points", points, "target", "prediction"))
    assert "data:image/png;base64" in svg
    assert len(svg) < 100_000


def test_the_cells_of_a_confusion_matrix_stand_in_their_rows() -> None:
    """The shade of a cell in the pixels: targets go down, predictions go to the right."""
    svg = to_svg(draw_confusion_matrix(np.array([[7, 5], [0, 9]]), ["a", "b"]))
    assert {"7", "5", "9", "a", "b", "rows: target, columns: prediction"} <= set(words_of(svg))
    assert "0" not in words_of(svg)
    pixels = to_pixels(draw_confusion_matrix(np.array([[0, 5], [0, 5]]), ["a", "b"])).astype(int)
    is_red = (pixels[..., 0] - pixels[..., 1] > 80).nonzero()
    is_green = (pixels[..., 1] - pixels[..., 0] > 50).nonzero()
    assert is_red[0].mean() < is_green[0].mean()  # the error is above the correct predictions
    assert abs(is_red[1].mean() - is_green[1].mean()) < 5  # in the same column


def test_pixels_are_rgb_on_white() -> None:
    figure = draw_lines([LOSS])
    assert figure is not None
    to_svg(figure)  # which is transparent
    pixels = to_pixels(figure)
    assert (pixels.shape, pixels.dtype) == ((290, 460, 3), np.uint8)
    assert pixels[0, 0].tolist() == [255, 255, 255]


def test_a_large_matrix_has_no_counts_and_is_quick() -> None:
    counts = np.arange(60 * 60).reshape(60, 60)
    svg = to_svg(draw_confusion_matrix(counts, [f"class {index}" for index in range(60)]))
    assert "3599" not in words_of(svg)
    assert "class 59" in words_of(svg)


def test_drawing_touches_no_global_state_and_says_nothing(tmp_path: Path) -> None:
    """No pyplot, no random numbers, nothing on standard error: also where fonts are collected."""
    code = """
import logging, random, sys
logging.basicConfig(level=logging.DEBUG)
import_matplotlib()
import matplotlib
names = set(matplotlib.rcParams) - {"backend"}  # reading that one imports pyplot
settings = {name: matplotlib.rcParams[name] for name in names}
before = random.getstate(), np.random.get_state()[1].tolist()
to_pixels(draw_confusion_matrix(np.eye(2, dtype=int), ["a", "\u4e2d"]))
to_svg(draw_scatter("points", [(1, 2.0), (2, 1.0)], "x", "y"))
assert (random.getstate(), np.random.get_state()[1].tolist()) == before
assert {name: matplotlib.rcParams[name] for name in names} == settings
assert "matplotlib.pyplot" not in sys.modules
"""
    done = run_code(code, HOME="/no/such/home", MPLCONFIGDIR=str(tmp_path / "config"))
    assert (done.returncode, done.stderr) == (0, "")
