"""The RANS case: what its data are, its networks and intervals, and where its optimum may go."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread
from openmdao.utils.assert_utils import assert_check_totals
from scipy.spatial import KDTree

from cases.airfoil_rans import data as data_module
from cases.airfoil_rans.accuracy import accuracy, fit_average, members_of
from cases.airfoil_rans.calibration import Calibration
from cases.airfoil_rans.data import ANGLE, CAMBER, FLOW, INPUTS, MODES, in_logarithms, load_samples, load_sweep, split
from cases.airfoil_rans.neighbors import neighbors_of
from cases.airfoil_rans.optimization import build_problem, design_at, minimize
from cases.cli import main
from gradopt import JENN, Dataset, Variable, load
from gradopt.errors import FileFormatError, MissingExtraError
from gradopt.om.data_distance import DataDistance
from gradopt.solvers import Adam
from gradopt.surrogates.fitted.surrogate import Surrogate

FLOW_OF_DESIGN = (0.45, 2.0)
LIMIT = 3.8


def quiet(line: str) -> None:
    """Report nothing."""


@pytest.fixture(scope="module")
def samples() -> Dataset:
    """A cheap stand-in for the data: drag exp(linear + square), its partials exact, modes as they are scaled."""
    generator = np.random.default_rng(0)
    scale = np.array([*0.1 * 0.5 ** np.arange(7), *0.3 * 0.5 ** np.arange(7), 0.08, 1.8])
    z = generator.uniform(-1.7, 1.7, (400, 16))
    slopes = np.linspace(0.02, 0.08, 16)
    y = 0.01 * np.exp(z @ slopes + 0.02 * (z**2).sum(axis=1))
    dydx = y[:, None] * (slopes + 0.04 * z) / scale
    center = np.array([*np.zeros(14), 0.45, 2.0])
    return Dataset(center + scale * z, y[:, None], dydx[:, None, :], INPUTS, [Variable("cd")])


@pytest.fixture(scope="module")
def surrogate(samples: Dataset) -> Surrogate:
    configuration = JENN((16,), activation="silu", solver=Adam(epochs=100, batch_size=50), starts=1)
    return fit_average(configuration, in_logarithms(samples), 2, 0, quiet)


@pytest.fixture(scope="module")
def data_distance(samples: Dataset) -> DataDistance:
    return DataDistance.of(samples, ("camber", "thickness"))


@pytest.fixture(scope="module")
def real() -> Dataset:
    pytest.importorskip("smt")
    return load_samples()


# The data


def test_samples_are_those_that_are_described(real: Dataset) -> None:
    assert (real.x.shape, real.y.shape, real.partials.shape) == ((42039, 16), (42039, 1), (42039, 1, 16))
    assert real.known.all()
    low, high = real.x.min(axis=0), real.x.max(axis=0)
    np.testing.assert_allclose([low[0], high[0], low[7], high[7]], [-0.497, 0.0, -1.5, -0.403], atol=1e-3)
    np.testing.assert_allclose([low[14], high[14], low[15], high[15]], [0.3, 0.6, -1.2, 5.2], atol=7e-3)
    assert 0.007 < real.y.min() < real.y.max() < 0.071


def test_partials_explain_the_differences_between_neighbors(real: Dataset) -> None:
    """So values, partials and their columns belong together."""
    z = (real.x - real.x.mean(axis=0)) / real.x.std(axis=0)
    one = np.random.default_rng(0).permutation(real.n)[:500]
    other = np.asarray(KDTree(z).query(z[one], k=[2])[1])[:, 0]
    slopes = (real.partials[one, 0] + real.partials[other, 0]) / 2.0
    difference = (real.y[other] - real.y[one])[:, 0]
    expected = ((real.x[other] - real.x[one]) * slopes).sum(axis=1)
    assert np.var(difference - expected) < 0.05 * np.var(difference)


def test_sweep_is_that_of_the_naca_4412(real: Dataset) -> None:
    sweep = load_sweep()
    np.testing.assert_array_equal(sweep.alpha, np.arange(-1.0, 11.0))
    assert (np.diff(sweep.cd) > 0.0).all()
    np.testing.assert_array_equal(sweep.x[3], [*sweep.modes, 0.3, 2.0])
    modes = real.x[:, MODES]
    assert ((modes.min(axis=0) <= sweep.modes) & (sweep.modes <= modes.max(axis=0))).all()
    # On 100 even stations, lengths of the NACA 4412's mean line and thickness: the leading modes are unit vectors.
    x = np.linspace(0.0, 1.0, 100)
    line = np.where(x < 0.4, 0.25 * (0.8 * x - x**2), (0.2 + 0.8 * x - x**2) / 9.0)
    half = 0.6 * (0.2969 * np.sqrt(x) - 0.126 * x - 0.3516 * x**2 + 0.2843 * x**3 - 0.1036 * x**4)
    assert np.linalg.norm(line) == pytest.approx(-sweep.modes[0], rel=0.06)
    assert 2.0 * np.linalg.norm(half) == pytest.approx(-sweep.modes[CAMBER], rel=0.02)


def test_split_holds_out_another_fifth_for_another_seed(samples: Dataset) -> None:
    training, held_out = split(samples, 0)
    assert (training.n, held_out.n) == (320, 80)
    assert len(np.unique(np.concatenate([training.x, held_out.x]), axis=0)) == samples.n
    assert not np.array_equal(held_out.x, split(samples, 1)[1].x)
    np.testing.assert_array_equal(held_out.x, split(samples, 0)[1].x)


def test_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "smt", None)
    with pytest.raises(MissingExtraError, match=r"needs the package `smt`.*pip install 'gradopt\[rans\]'"):
        load_samples()
    assert main(["run", "airfoil_rans", "--quick", "--out", "out"]) == 1
    captured = capsys.readouterr()
    assert "gradopt[rans]" in captured.err and "Traceback" not in captured.err


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, r"cd_x_y\.csv` must be in the installed package smt, got no such file\..*--only-binary"),
        ({"cd_x_y.csv": "1;2;3\n"}, r"cd_x_y\.csv` must have 17 columns of finite numbers, got shape \(1, 3\)"),
        ({"cd_x_y.csv": ";".join(["1"] * 16 + ["nan"])}, r"must have 17 columns of finite .* 1 of them not finite"),
        ({"cd_x_y.csv": "drag\n"}, r"cd_x_y\.csv` must hold numbers only, got .*drag"),
        (
            {"cd_x_y.csv": ";".join("1" * 17), "cd_dy.csv": f"{';'.join('1' * 16)}\n{';'.join('1' * 16)}"},
            r"cd_dy\.csv` must have 1 rows, as cd_x_y\.csv, got 2",
        ),
    ],
)
def test_wrong_files_are_explained(
    files: dict[str, str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("smt")
    folder = tmp_path / "examples" / "airfoil_parameters"
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    monkeypatch.setattr(data_module, "files", lambda package: tmp_path)
    with pytest.raises(FileFormatError, match=message):
        load_samples()


# The average of networks and its accuracy


def test_accuracy_is_that_of_its_formulas(samples: Dataset) -> None:
    exact = accuracy(samples.y, samples.partials, samples)
    assert (exact["r2"], exact["gradient_r2"], exact["max_counts"]) == (1.0, 1.0, 0.0)
    wrong = samples.y.copy()
    wrong[7] += 3e-4
    found = accuracy(wrong, samples.partials, samples)
    assert found["max_counts"] == pytest.approx(3.0)
    assert found["rmse_counts"] == pytest.approx(3.0 / np.sqrt(samples.n))
    assert found["mae_counts"] == pytest.approx(3.0 / samples.n)
    assert found["r2"] == pytest.approx(1.0 - 9e-8 / samples.n / samples.y.var())
    scaled = samples.partials * samples.x.std(axis=0)
    mean = scaled.mean(axis=0)
    found = accuracy(samples.y, np.broadcast_to(mean / samples.x.std(axis=0), samples.partials.shape), samples)
    assert found["gradient_r2"] == pytest.approx(0.0, abs=1e-12)


def test_average_is_that_of_its_networks_in_the_logarithm(surrogate: Surrogate, samples: Dataset) -> None:
    one, other = members_of(surrogate)
    first, second = one.predict(samples.x), other.predict(samples.x)
    assert (first != second).any()
    np.testing.assert_allclose(surrogate.predict(samples.x), np.sqrt(first * second), rtol=1e-12)
    assert accuracy(*surrogate.linearize(samples.x), samples)["r2"] > 0.9


def test_std_grows_with_the_disagreement_of_the_networks(surrogate: Surrogate, samples: Dataset) -> None:
    far = samples.x[:50].copy()
    far[:, MODES] *= 4.0
    apart = abs(np.log(np.divide(*(member.predict(far)[:, 0] for member in members_of(surrogate))))) / 2.0
    std = (surrogate.std(far) / surrogate.predict(far))[:, 0]
    assert (std >= apart).all()
    assert np.median(std) > 2.0 * np.median(surrogate.std(samples.x) / surrogate.predict(samples.x))


def test_average_is_saved_and_loaded_whole(surrogate: Surrogate, samples: Dataset, tmp_path: Path) -> None:
    surrogate.save(tmp_path / "cd.gradopt")
    again = load(tmp_path / "cd.gradopt")
    # To round-off: once they differed by 8e-15, for a reason that is not known.
    np.testing.assert_allclose(again.predict(samples.x), surrogate.predict(samples.x), rtol=1e-12)
    np.testing.assert_allclose(again.std(samples.x), surrogate.std(samples.x), rtol=1e-12)


# Neighbors


def test_nearest_samples_are_those_of_least_distance_in_shape_and_flow(
    data_distance: DataDistance, samples: Dataset, surrogate: Surrogate
) -> None:
    design = design_at(surrogate, data_distance, samples.x[9, MODES], (samples.x[9, 14], samples.x[9, ANGLE]))
    near = neighbors_of(design, samples, surrogate, data_distance, 3)
    assert near.shape[0] == pytest.approx(0.0, abs=1e-12)
    np.testing.assert_array_equal(near.flow[0], samples.x[9, FLOW])
    assert near.drag[0] == samples.y[9, 0]
    assert near.predicted[0] == pytest.approx(design.drag)
    assert near.shape[1] > 0.5


# Intervals


def test_interval_has_its_coverage_and_grows_where_errors_do() -> None:
    generator = np.random.default_rng(0)
    distances = generator.uniform(2.0, 6.0, 4000)
    scores = generator.exponential(np.where(distances > 4.0, 3.0, 1.0))
    calibration = Calibration(distances, 0.01 * scores, scores, np.full(4000, 0.01))
    for distance, mean in ((3.0, 1.0), (5.0, 3.0)):
        assert calibration.factor(distance) == pytest.approx(mean * np.log(10.0), rel=0.25)
        assert calibration.coverage(distance, 0) == pytest.approx(0.9, abs=0.05)
    assert calibration.part_beyond(5.0) == pytest.approx(0.25, abs=0.03)
    assert calibration.part_worse(3.0, 0.01 * np.log(10.0)) == pytest.approx(0.1, abs=0.08)
    assert calibration.part_worse(5.0, 1.0) == 0.0
    assert calibration.backed(5.9) and not calibration.backed(6.0)
    assert calibration.limit(0.99) == pytest.approx(5.96, abs=0.02)
    rows = calibration.rows()
    assert sum(row["samples"] for row in rows) == 4000
    assert rows[0]["coverage_of_std"] > rows[-1]["coverage_of_std"]
    assert rows[-1]["relative_p90"] == pytest.approx(0.03 * np.log(10.0), rel=0.5)


def test_calibration_holds_errors_of_the_surrogate(
    surrogate: Surrogate, data_distance: DataDistance, samples: Dataset
) -> None:
    few = samples.select(range(30))
    calibration = Calibration.of(surrogate, data_distance, few)
    drag = surrogate.predict(few.x)
    np.testing.assert_allclose(calibration.errors, (drag / few.y - 1.0)[:, 0])
    np.testing.assert_allclose(calibration.scores * calibration.stds, abs(calibration.errors) * (few.y / drag)[:, 0])
    np.testing.assert_array_equal(calibration.distances, data_distance.distances(few.x[:, MODES]))


# The optimization


@pytest.mark.parametrize("held", [1, 4, 7])
def test_optimum_keeps_lift_and_thickness_and_stays_among_the_data(
    surrogate: Surrogate, data_distance: DataDistance, held: int
) -> None:
    start = data_distance.mean + 0.1 * np.linalg.norm(data_distance.whitening, axis=0) ** -1.0
    before = design_at(surrogate, data_distance, start, FLOW_OF_DESIGN)
    inside = minimize(surrogate, data_distance, start, FLOW_OF_DESIGN, held, LIMIT, quiet, starts=2)
    anywhere = minimize(surrogate, data_distance, start, FLOW_OF_DESIGN, held, None, quiet, starts=2)
    assert before.distance < LIMIT
    for design in (inside, anywhere):
        assert design.success and len(design.starts) == 2
        np.testing.assert_array_equal(design.modes[:held], start[:held])
        assert design.modes[CAMBER] <= start[CAMBER]
        assert (design.modes >= np.minimum(surrogate.lower[MODES], start) - 1e-9).all()
        assert design.drag == pytest.approx(min(design.starts))
        assert (design.mach, design.angle) == FLOW_OF_DESIGN
    assert inside.distance == pytest.approx(LIMIT, abs=1e-3)
    assert anywhere.distance > LIMIT + 0.5
    assert anywhere.drag < inside.drag < before.drag


def test_totals_of_the_problem_are_exact(surrogate: Surrogate, data_distance: DataDistance, samples: Dataset) -> None:
    problem = build_problem(surrogate, data_distance, samples.x[1, MODES], FLOW_OF_DESIGN, 4, LIMIT)
    problem.run_model()
    totals = problem.check_totals(method="fd", form="central", step=1e-6, out_stream=None)
    assert_check_totals(totals, atol=1e-6, rtol=1e-5)
    assert problem.get_val("mach")[0] == FLOW_OF_DESIGN[0]


def test_limit_that_no_shape_keeps_is_no_success(
    surrogate: Surrogate, data_distance: DataDistance, capsys: pytest.CaptureFixture[str]
) -> None:
    found = minimize(surrogate, data_distance, data_distance.mean, FLOW_OF_DESIGN, 4, 0.5, quiet, starts=1)
    assert not found.success and found.starts == ()
    assert capsys.readouterr().out == ""


# The command line


def test_quick_run_writes_its_files(tmp_path: Path, capsys: pytest.CaptureFixture[str], real: Dataset) -> None:
    assert main(["run", "airfoil_rans", "--quick", "--seed", "3", "--held", "5", "--out", str(tmp_path)]) == 0
    record: dict[str, Any] = json.loads((tmp_path / "result.json").read_text())
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "distance.png",
        "modes.png",
        "naca4412.png",
        "parity.png",
        "result.json",
        "surrogate_cd.gradopt",
    ]
    surrogate, sweep = load(tmp_path / "surrogate_cd.gradopt"), load_sweep()
    np.testing.assert_allclose(record["sweep"]["predicted"], surrogate.predict(sweep.x)[:, 0])
    assert record["sweep"]["inside"] == [True] * 7 + [False] * 5
    assert (record["held_out"], record["settings"]["seed"], record["settings"]["quick"]) == (400, 3, True)
    start, inside, anywhere = (record["designs"][name] for name in ("NACA 4412", "optimum, limited", "optimum, free"))
    assert start["true"] == sweep.cd[4]
    assert inside["true"] is None
    assert inside["distance"] <= record["limit"] + 1e-3 < anywhere["distance"]
    assert inside["modes"][:5] == start["modes"][:5] == list(sweep.modes[:5])
    assert anywhere["interval"] is anywhere["interval_coverage"] is None
    assert record["training"]["with partials"]["gradient_r2"] > record["training"]["values alone"]["gradient_r2"]
    printed = capsys.readouterr()
    assert printed.err == ""
    for text in ("thickness[6]", "extrapolated", "optimum, free", "parity.png", "The networks disagree"):
        assert text in printed.out
    for picture in tmp_path.glob("*.png"):
        assert imread(picture)[..., :3].std() > 0.02


@pytest.mark.parametrize(("option", "value"), [("--mach", "0.7"), ("--alpha", "-3"), ("--mach", "nan")])
def test_flow_outside_the_data_is_refused(option: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "airfoil_rans", option, value, "--out", "out"]) == 1
    assert f"`{option}` must lie in the data" in " ".join(capsys.readouterr().err.split())


@pytest.mark.slow
def test_full_run_is_as_accurate_as_stated(tmp_path: Path, real: Dataset) -> None:
    assert main(["run", "airfoil_rans", "--out", str(tmp_path)]) == 0
    record = json.loads((tmp_path / "result.json").read_text())
    single, average = record["training"]["with partials"], record["training"]["average"]
    assert single["r2"] > 0.9997 and single["rmse_counts"] < 0.7 and single["gradient_r2"] > 0.99
    assert average["rmse_counts"] < single["rmse_counts"]
    assert record["sweep"]["within_target"]
    start, inside, anywhere = record["designs"].values()
    assert 0.85 <= inside["interval_coverage"] <= 0.97
    assert anywhere["distance"] > 2.0 * inside["distance"] and anywhere["disagreement"] > 10.0 * inside["disagreement"]
    assert inside["drag"] < start["drag"]
