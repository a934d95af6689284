"""The airfoil case on XFOIL: what is asked, what is believed, and what the command line makes of it."""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from cases.airfoil import case as airfoil
from cases.airfoil.aerodynamics import NeuralFoilTruth
from cases.airfoil.case import airfoil_case
from cases.airfoil.flow import draw_flow
from cases.airfoil.geometry import load_shape
from cases.airfoil.on_xfoil import NeuralFoilSurrogate, xfoil_case
from cases.airfoil.xfoil import Point, Side
from cases.cli import build_parser, main
from cases.model import pose, run
from gradopt.data.variables import column_bounds
from gradopt.errors import InputError
from gradopt.loop.state import Exit
from gradopt.om.driver import AdaptiveDriver

needs_xfoil = pytest.mark.skipif(
    not (shutil.which("xfoil") and shutil.which("Xvfb")), reason="XFOIL needs the Debian packages xfoil and xvfb"
)


def parsed(*words: str) -> argparse.Namespace:
    return build_parser().parse_args(["run", "airfoil", *words])


def test_neuralfoil_as_a_surrogate_has_its_values_and_partials() -> None:
    case, shape = airfoil_case("naca0012"), load_shape("naca0012")
    aerodynamics = NeuralFoilTruth(shape)
    believed = NeuralFoilSurrogate(aerodynamics, case.inputs, case.outputs[:3])
    x = np.array([case.start, case.start + 0.01])
    found = believed.evaluate(x)
    for row in range(2):
        y, dydx = aerodynamics.evaluate(x[row])
        np.testing.assert_array_equal(found.y[row], y[:3])
        np.testing.assert_array_equal(found.dydx()[row], dydx[:3])
    step = believed.evaluate(x + 1e-30j * np.eye(17)[3]).y.imag / 1e-30
    np.testing.assert_allclose(step, found.dydx()[:, :, 3], rtol=1e-12)
    assert believed.lower.tolist() == [-np.inf] * 17 and believed.upper.tolist() == [np.inf] * 17


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--truth", "xfoil", "--one-shot"], "`--truth` must be neuralfoil with --one-shot, got xfoil"),
        (["--truth", "xfoil", "--problem", "multipoint"], "`--truth` must be neuralfoil with --problem multipoint"),
        (["--alone"], "`--alone` must come with --truth xfoil, got neuralfoil"),
    ],
)
def test_options_that_do_not_go_together_are_refused(words: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        airfoil.adaptive(parsed(*words))


@needs_xfoil
def test_the_problem_is_the_same_but_for_what_xfoil_cannot_say() -> None:
    on_neuralfoil, on_xfoil = airfoil.adaptive(parsed()), airfoil.adaptive(parsed("--truth", "xfoil"))
    names = [response.name for response in on_neuralfoil.responses]
    assert [response.name for response in on_xfoil.responses] == [n for n in names if n != "analysis_confidence"]
    np.testing.assert_array_equal(on_xfoil.start, on_neuralfoil.start)
    assert [v.lower for v in on_xfoil.inputs] == [v.lower for v in on_neuralfoil.inputs]
    assert on_xfoil.settings["truth"] == "xfoil" and on_xfoil.title.endswith("XFOIL as the truth")
    assert "Drela" in on_xfoil.citation


@needs_xfoil
@pytest.mark.parametrize("initial_surrogate", [True, False])
def test_the_loop_lowers_the_drag_of_xfoil(initial_surrogate: bool) -> None:
    """25 calls, of which 18 or more are for the partials at the start."""
    shape = load_shape("rae2822")
    case = xfoil_case(airfoil_case("rae2822"), shape, 5e6, initial_surrogate=initial_surrogate)
    driver = AdaptiveDriver(
        configuration=None, max_evaluations=25, tolerance=case.tolerance, finite_differences=case.finite_differences
    )
    problem = pose(case.model(case.truths), case.inputs, column_bounds(case.inputs), case.responses, case.start, driver)
    run(problem)
    assert driver.exit is Exit.BUDGET
    first = driver.history[0].objective
    feasible = [one.objective for one in driver.history if one.accepted and abs(one.constraints[0] - 0.6) < 0.02]
    assert min(feasible) < (0.45 if initial_surrogate else 0.9) * first


@needs_xfoil
def test_command_line_writes_pictures_of_the_flow(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["run", "airfoil", "--truth", "xfoil", "--quick", "--max-evaluations", "3", "--out", str(tmp_path)]) == 0
    )
    assert "XFOIL as the truth" in " ".join(capsys.readouterr().out.split())
    for name in ("flow.png", "shape.png", "polars.png", "optimum.dat", "evaluations.sqlite"):
        assert (tmp_path / name).stat().st_size > 0
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["settings"]["truth"] == "xfoil" and result["settings"]["initial_surrogate"] is True


def test_a_missing_xfoil_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from cases.airfoil import xfoil

    xfoil._hash_of_program.cache_clear()
    monkeypatch.setenv("PATH", "")
    assert main(["run", "airfoil", "--truth", "xfoil", "--out", str(tmp_path)]) == 1
    assert "apt-get install xfoil xvfb xfonts-base" in capsys.readouterr().err
    xfoil._hash_of_program.cache_clear()


def test_flow_is_drawn_from_points(tmp_path: Path) -> None:
    x = np.linspace(0.0, 1.4, 30)
    side = Side(x, 1.0 - x, 0.001 + x, 0.003 + 2.0 * x, 0.01 / (1.0 + x))
    point = Point(2.0, np.array([0.6, 0.005, -0.1]), np.array([0.3, 0.6]), side, side)
    assert draw_flow(tmp_path, {"start": point, "optimum": point}) == [tmp_path / "flow.png"]
    assert (tmp_path / "flow.png").stat().st_size > 10_000
