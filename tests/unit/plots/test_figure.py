"""Figures: drawn without a screen, without global state, the same each time."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib._pylab_helpers import Gcf
from matplotlib.image import imread

import gradopt
from gradopt.plots.figure import finish, new_figure

FOLDERS = (Path(gradopt.__file__).parent, Path(__file__).parents[3] / "cases")
DRAWING = sorted(path for folder in FOLDERS for path in folder.rglob("*.py"))


def test_a_new_figure_has_its_size_in_inches() -> None:
    assert new_figure(3.0, 2.0).get_size_inches().tolist() == [3.0, 2.0]


def test_a_figure_is_saved_only_where_there_is_a_path(tmp_path: Path) -> None:
    figure = finish(new_figure(3.0, 2.0), "", None)
    assert not list(tmp_path.iterdir())
    assert finish(figure, "a title", tmp_path / "one.png") is figure
    finish(figure, "", str(tmp_path / "two.png"))
    assert figure.get_suptitle() == "a title"
    np.testing.assert_array_equal(imread(tmp_path / "one.png"), imread(tmp_path / "two.png"))


def test_drawing_leaves_no_global_state(tmp_path: Path) -> None:
    settings = dict(matplotlib.rcParams)
    finish(new_figure(3.0, 2.0), "a title", tmp_path / "one.png")
    assert Gcf.get_num_fig_managers() == 0
    assert dict(matplotlib.rcParams) == settings


def test_pyplot_is_imported_nowhere() -> None:
    assert len(DRAWING) > 50
    assert [path for path in DRAWING if "pyplot" in path.read_text()] == []
