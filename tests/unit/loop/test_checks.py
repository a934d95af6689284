"""Parts of a state that do not fit together are named; a state that a run made always passes."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradopt.corrected.trend import Quadratic
from gradopt.data.dataset import Dataset
from gradopt.data.variables import Variable
from gradopt.errors import FileFormatError
from gradopt.loop.checks import check_state, check_trust_region
from gradopt.loop.files import STATE, classes, load_state, save_state
from gradopt.loop.packing import Packer, Unpacker
from gradopt.loop.state import State
from gradopt.loop.trust_region import TrustRegion
from gradopt.surrogates.configurations.jenn import JENN
from gradopt.surrogates.fitted import container

Runs = Callable[..., Any]
NAN2 = np.full(2, np.nan)


@pytest.fixture(scope="module")
def states() -> dict[str, State]:
    """Filled by the first test that needs it."""
    return {}


@pytest.fixture
def state(disk: Runs, states: dict[str, State]) -> State:
    """State of a run with a constraint, a network, corrections and failures."""
    if not states:
        made: Any = disk(configuration=JENN((3,), starts=1, alpha=1e-6), fails=lambda u: len(made.evaluated) == 4)
        for _ in range(4):
            made.step()
        check_state(made.state)
        states["failed"] = made.state
    found = states["failed"]
    assert found.failed and found.selections and found.samples[0].fitted
    return found


def with_point(state: State, **changes: Any) -> State:
    return replace(state, points=(replace(state.points[0], **changes), *state.points[1:]))


def with_samples(state: State, **changes: Any) -> State:
    return replace(state, samples=(replace(state.samples[0], **changes),))


def with_kkt(state: State, **changes: Any) -> State:
    assert state.kkt is not None
    return replace(state, kkt=replace(state.kkt, **changes))


def with_record(state: State, **changes: Any) -> State:
    return replace(state, history=(replace(state.history[0], **changes),))


def with_variant(state: State, **changes: Any) -> State:
    selection = state.selections[0]
    return replace(state, selections=(replace(selection, plain=replace(selection.plain, **changes)),))


def with_corrected(state: State, **changes: Any) -> State:
    corrected = state.selections[0].plain.corrected
    assert corrected is not None
    return with_variant(state, corrected=replace(corrected, **changes))


def with_correction(state: State, **changes: Any) -> State:
    corrected = state.selections[0].plain.corrected
    assert corrected is not None
    return with_corrected(state, correction=replace(corrected.correction, **changes))


def with_scaling(state: State, **changes: Any) -> State:
    corrected = state.selections[0].plain.corrected
    assert corrected is not None
    return with_correction(state, scaling=replace(corrected.correction.scaling, **changes))


def with_residual(state: State, **changes: Any) -> State:
    """With other fields of the last kriging of residuals, so that a check of the first alone is not enough."""
    corrected = state.selections[0].plain.corrected
    assert corrected is not None and len(corrected.correction.krigings) == 2
    first, last = corrected.correction.krigings
    return with_correction(state, krigings=(first, replace(last, **changes)))


def with_kriging(state: State, **changes: Any) -> State:
    corrected = state.selections[0].plain.corrected
    assert corrected is not None
    return with_residual(state, kriging=replace(corrected.correction.krigings[1].kriging, **changes))


def more_krigings(state: State) -> State:
    corrected = state.selections[0].plain.corrected
    assert corrected is not None
    return with_correction(state, krigings=2 * corrected.correction.krigings)


def with_fit(state: State, **changes: Any) -> State:
    fitted = state.samples[0].fitted
    assert fitted is not None
    return with_samples(state, fitted=replace(fitted, **changes))


def other_data() -> Dataset:
    return Dataset(np.zeros((3, 2)), np.zeros((3, 2)))


FAULTS: dict[str, tuple[Callable[[State], State], str]] = {
    "start of single precision": (
        lambda s: replace(s, start=s.start.astype(np.float32)),
        r"`start` must be float64 of shape \(2,\), got float32",
    ),
    "start that is NaN": (lambda s: replace(s, start=NAN2), r"`start` must be finite and not empty, got array\(\[nan"),
    "start that is empty": (lambda s: replace(s, start=np.empty(0)), r"`start` must be finite and not empty"),
    "waiting of other points": (
        lambda s: replace(s, waiting=np.zeros((1, 3))),
        r"`waiting` must be float64 of shape \(-1, 2\), got float64 of shape \(1, 3\)",
    ),
    "no samples": (lambda s: replace(s, samples=()), r"`samples` must hold those of one truth at least, got none"),
    "samples without outputs": (
        lambda s: with_samples(s, outputs=()),
        r"`samples` must have inputs and outputs, got 2 and 0",
    ),
    "evaluated of other points": (lambda s: with_samples(s, evaluated=np.zeros((1, 3))), "`evaluated` must be float64"),
    "beside of other points": (lambda s: with_samples(s, beside=np.zeros(3)), "`beside` must be float64 of shape"),
    "values of other outputs": (
        lambda s: with_samples(s, values=np.zeros((0, 9))),
        "`values` must be float64 of shape",
    ),
    "a mask too many": (
        lambda s: with_samples(s, differenced=(np.zeros((2, 2), dtype=bool),)),
        r"`differenced` must have 0 entries, one for each of `difference_rows`, got 1",
    ),
    "a refinement of a row without differences": (
        lambda s: with_samples(s, refinements=(0,)),
        r"`refinements` must be among `difference_rows`, got 0",
    ),
    "data of other variables": (lambda s: with_samples(s, data=other_data()), r"`data` must have the variables \[\["),
    "a row that is not there": (
        lambda s: with_samples(s, difference_rows=(99,)),
        r"`difference_rows` must be a whole number from 0 to \d, got 99",
    ),
    "a fit of more samples": (
        lambda s: with_fit(s, samples=99),
        r"`samples` must be a whole number from 0 to \d, got 99",
    ),
    "a surrogate of other variables": (
        lambda s: with_fit(s, surrogate=replace(fitted(s), inputs=(Variable("z", (2,)),))),
        r"`surrogate` must have the variables \[\[",
    ),
    "a point elsewhere": (lambda s: with_point(s, u=np.zeros(3)), r"`u` must be float64 of shape \(2,\)"),
    "a gradient of another size": (lambda s: with_point(s, gradient=np.zeros(3)), r"`gradient` must be float64"),
    "constraints of another number": (
        lambda s: with_point(s, c=np.zeros(2)),
        r"`jacobian` must be float64 of shape \(2, 2\)",
    ),
    "a jacobian of another shape": (lambda s: with_point(s, jacobian=np.zeros((2, 1))), r"`jacobian` must be float64"),
    "rows of more components": (
        lambda s: with_point(s, rows=(0, 0)),
        r"`rows and sensitivities` must have 2 entries each, got 2 and 1",
    ),
    "a row beyond the data": (
        lambda s: with_point(s, rows=(99,)),
        r"`rows` must be a whole number from 0 to \d, got 99",
    ),
    "sensitivities of other outputs": (
        lambda s: with_point(s, sensitivities=(np.zeros((3, 7)),)),
        r"`sensitivities` must be float64 of shape \(2, 2\)",
    ),
    "an iterate that is not there": (lambda s: replace(s, at=99), r"`at` must be a whole number from -1 to \d, got 99"),
    "no iterate": (
        lambda s: replace(s, at=-1),
        r"`kkt` must be given where there is an iterate, got at = -1 and kkt = a re",
    ),
    "no conditions": (
        lambda s: replace(s, kkt=None),
        r"`kkt` must be given where there is an iterate, got .* kkt = None",
    ),
    "a step to nowhere": (
        lambda s: replace(s, steps=((0, 99),)),
        r"`steps` must be a whole number from 0 to \d, got 99",
    ),
    "penalties of more constraints": (
        lambda s: replace(s, penalties=np.zeros(3)),
        r"`penalties` must be float64 of shape \(1,\)",
    ),
    "a failure without a point": (
        lambda s: replace(s, failed=((),)),
        r"`failed` must hold a candidate in each entry, got an em",
    ),
    "a failure elsewhere": (
        lambda s: replace(s, failed=((np.zeros(3),),)),
        r"`failed` must be float64 of shape \(2,\)",
    ),
    "checks below 0": (lambda s: replace(s, checks=-1), r"`checks` must be a whole number from 0 to"),
    "multipliers of more constraints": (
        lambda s: with_kkt(s, multipliers=np.zeros(3)),
        "`multipliers` must be float64",
    ),
    "active bounds that are real": (
        lambda s: with_kkt(s, active=np.zeros(1)),
        r"`active` must be int64 of shape \(1,\), got fl",
    ),
    "a worst entry that is not there": (
        lambda s: with_kkt(s, worst_feasibility=3),
        "`worst_feasibility` must be a whole number",
    ),
    "a record elsewhere": (lambda s: with_record(s, u=np.zeros(3)), r"`u` must be float64 of shape \(2,\)"),
    "a record of more constraints": (
        lambda s: with_record(s, constraints=np.zeros(3)),
        "`constraints` must be float64",
    ),
    "selections of more components": (
        lambda s: replace(s, selections=2 * s.selections),
        r"`selections` must have one entry for each of 1 components, got 2",
    ),
    "judged samples that are not there": (
        lambda s: replace(s, selections=(replace(s.selections[0], judged=99),)),
        r"`judged` must be a whole number from 0 to \d, got 99",
    ),
    "an error that is no log": (
        lambda s: with_variant(s, error=-1e300),
        r"`error` must be the log of a number, got -1e\+300",
    ),
    "a scale of 0": (
        lambda s: with_scaling(s, input_scale=np.zeros(2)),
        r"`scaling` must be finite and positive, got array",
    ),
    "a scale that is NaN": (lambda s: with_scaling(s, output_scale=NAN2), r"`scaling` must be finite and positive"),
    "means of more inputs": (
        lambda s: with_scaling(s, input_mean=np.zeros(3)),
        r"`input_mean` must be float64 of shape \(2,\)",
    ),
    "transforms of other variables": (
        lambda s: with_scaling(s, input_transforms=("log", None)),
        r"`transforms` must be those of the variables, got \(\('log', None\), ",
    ),
    "a hessian of another shape": (lambda s: with_correction(s, hessian=np.zeros((2, 2))), "`hessian` must be float64"),
    "a value that is NaN": (lambda s: with_correction(s, value=NAN2), r"`value` must be finite, got nan at \[0\]"),
    "a mask of more outputs": (
        lambda s: with_correction(s, carried=np.zeros(3, dtype=bool)),
        r"`carried` must be bool of shape \(2,\), got bool of shape \(3,\)",
    ),
    "a mask of numbers": (lambda s: with_correction(s, carried=np.zeros(2)), r"`carried` must be bool of shape"),
    "more krigings than kernels": (lambda s: more_krigings(s), r"`krigings` must have 2 entries at most, got 4"),
    "a spread of 0": (lambda s: with_residual(s, spread=0.0), r"`spread` must be positive, got 0\.0"),
    "a value at the iterate of more outputs": (
        lambda s: with_residual(s, value=np.zeros(3)),
        r"`value` must be float64 of shape \(2,\), got float64 of shape \(3,\)",
    ),
    "a gradient at the iterate of other inputs": (
        lambda s: with_residual(s, gradient=np.zeros((2, 3))),
        r"`gradient` must be float64 of shape \(2, 2\)",
    ),
    "a record that is NaN": (lambda s: with_residual(s, record=NAN2), r"`record` must be finite, got nan at \[0\]"),
    "a base of other variables": (
        lambda s: with_corrected(s, surrogate=replace(fitted(s), outputs=(Variable("z"),))),
        r"`surrogate` must have 2 and 2 columns, got \[2, 1\]",
    ),
    "a kernel of another program": (
        lambda s: with_kriging(s, kernel="os.system"),
        r"`kernel` must be one of \['Matern 3/2', .*\], got 'os\.system'",
    ),
    "lengths of 0": (
        lambda s: with_kriging(s, lengths=np.zeros(2)),
        r"`lengths` must be 2 positive numbers, got array",
    ),
    "indices of more lengths": (
        lambda s: with_kriging(s, length_indices=(0, 99)),
        r"`length_indices` must be a whole num",
    ),
    "weights of other points": (
        lambda s: with_kriging(s, value_weights=np.zeros((1, 2))),
        r"`value_weights` must be float64 of shape",
    ),
    "points that are a number": (lambda s: with_kriging(s, points=np.array(1.0)), r"`points` must be float64 of shape"),
    "a trend of other inputs": (
        lambda s: with_kriging(s, trend=Quadratic(np.zeros(3), np.zeros(2), np.zeros((2, 2)), np.zeros((2, 2, 2)))),
        r"`center` must be float64 of shape \(2,\)",
    ),
}


def fitted(state: State) -> Any:
    found = state.samples[0].fitted
    assert found is not None
    return found.surrogate


@pytest.mark.parametrize("name", FAULTS)
def test_parts_that_do_not_fit_together_are_named(state: State, name: str) -> None:
    change, message = FAULTS[name]
    with pytest.raises(FileFormatError, match=message + r".*Copy the file again from where it was written"):
        check_state(change(state))


@pytest.mark.parametrize(
    "changes",
    [
        *({"radius": value} for value in (0.0, -1.0, np.nan, np.inf)),
        *({"smallest": value} for value in (0.0, -1.0, np.nan)),
        *({"shrink": value} for value in (0.0, 1.0, 2.0, np.nan)),
        *({"retreat": value} for value in (0.0, 1.0, np.nan)),
        *({"grow": value} for value in (0.5, np.inf, np.nan)),
        *({"largest": np.inf}, {"poor": np.nan}, {"good": np.inf}),
    ],
    ids=str,
)
def test_a_trust_region_that_would_never_end_a_run_is_refused(changes: dict[str, float]) -> None:
    check_trust_region(TrustRegion())
    with pytest.raises(
        FileFormatError, match=r"`trust_region` must have positive radii, shrink and retreat between 0 and 1"
    ):
        check_trust_region(replace(TrustRegion(), **changes))


def test_a_state_of_the_file_is_checked(state: State, tmp_path: Path) -> None:
    save_state(tmp_path / "state", replace(state, at=99))
    with pytest.raises(FileFormatError, match="`at` must be a whole number"):
        load_state(tmp_path / "state")


# ---- what would fill the memory ----


def test_an_array_is_used_once() -> None:
    arrays = {"a0": np.zeros(3)}
    Unpacker(classes(), arrays).unpack([{"array": "a0"}])
    with pytest.raises(FileFormatError, match=r"The state lacks or garbles a field \('a0'\)"):
        Unpacker(classes(), arrays).unpack([{"array": "a0"}, {"array": "a0"}])
    assert set(arrays) == {"a0"}  # the caller's dictionary is unchanged


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ("dydx", None, r"`Dataset\.dydx` must be a float64 array, got None"),
        ("x", np.zeros((2, 2), dtype=bool), r"`Dataset\.x` must be a float64 array, got array\(\[\[False"),
        ("y", np.zeros((2, 1), dtype=np.float16), r"`Dataset\.y` must be a float64 array"),
    ],
)
def test_a_dataset_neither_fills_in_nor_converts(part: str, value: Any, message: str) -> None:
    packer = Packer(classes())
    found = packer.pack(Dataset(np.zeros((2, 2)), np.zeros((2, 1))))
    found["fields"][part] = packer.pack(value)
    with pytest.raises(FileFormatError, match=message):
        Unpacker(classes(), packer.arrays).unpack(found)


def test_claims_of_a_billion_entries_cost_no_memory(state: State, tmp_path: Path) -> None:
    save_state(tmp_path / "state", state)
    header, arrays, _ = container.read(tmp_path / "state", STATE)
    samples = header["state"]["fields"]["samples"][0]["fields"]
    for name in ("inputs", "outputs"):
        samples[name][0]["fields"].update(shape=[10**9], lower=None, upper=None)
    container.write(tmp_path / "state", header, arrays, STATE)
    size = (tmp_path / "state").stat().st_size
    tracemalloc.start()
    try:
        with pytest.raises(FileFormatError, match=r"must be float64 of shape \(-1, 1000000000\)"):
            load_state(tmp_path / "state")
        assert tracemalloc.get_traced_memory()[1] < 5 * size + 1_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("units", ["%", "m)", "9**9**9", "().__class__"])
def test_units_of_a_state_follow_the_grammar(state: State, tmp_path: Path, units: str) -> None:
    save_state(tmp_path / "state", state)
    header, arrays, _ = container.read(tmp_path / "state", STATE)
    header["state"]["fields"]["samples"][0]["fields"]["inputs"][0]["fields"]["units"] = units
    container.write(tmp_path / "state", header, arrays, STATE)
    with pytest.raises(FileFormatError, match="`units` must be valid OpenMDAO units"):
        load_state(tmp_path / "state")
