"""The corrected surrogate: near one point it answers as the truth does, farther off as the surrogate.

Near the center c of the region the truth's output k is modelled as

    s_k(x) + [y_k(c) - s_k(c)] + [dy_k(c) - ds_k(c)] (x - c) + 1/2 (x - c)' B_k (x - c) + g_k(x)

with the global surrogate s, its first-order correction, a secant quadratic B_k, and g_k, which is gradient-enhanced
kriging of what the nearest truths still miss, less its own value and gradient at c. So value and partials at c are
the truth's whatever s, B and g are (Alexandrov & Lewis 2001). Kriging shortens the way along curved valleys by half,
and misleads where a response bends in ways its single length scale cannot tell; so it has to earn its place: an output
goes without as long as its predictions of the last candidates were the better ones without. All of this is done in
transformed outputs, so that a response with a log or logit transform stays in its domain.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from gradopt.corrected.kriging import Kriging, krige
from gradopt.corrected.secant import secant_hessian, symmetric_rank_one
from gradopt.data.dataset import Dataset
from gradopt.data.scaling import Scaling, column_transforms
from gradopt.data.variables import Variable, column_bounds
from gradopt.surrogates.protocol import Evaluation, SupportsEvaluate

_WINDOW = 4  # nearest truths used, in multiples of the number of inputs: what prototypes could tell from more was noise
_FEWEST = 16
_MOST_ROWS = 1200  # of values and partials together: bounds the time of a fit (1200 rows: 0.1 s on one core)
_DIGITS = 1e7  # largest ratio of what kriging is to explain far off and near
_SMALLEST_WIDTH = 1e-3  # of an input without bounds that has no size yet
_MOVEMENT = 0.1  # part of an input's size that it is expected to move by where it has no bounds
_MEMORY = 0.8  # weight of the record of kriging before the newest candidate
_SURPRISE = 2.0  # most that one candidate counts in it
_ROUND_OFF = 1e-12  # errors below this, in units of max(1, |truth|), say nothing


@dataclass(frozen=True)
class CorrectionTerms:
    """Which parts of the correction are used; all by default, fewer to show what each is worth.

    Attributes:
        first_order: Value and partials of the truth at the center. Without it nothing else is added either, and the
            loop may end anywhere.
        secant: The secant quadratic.
        kriging: Kriging of what the nearest truths still miss.
    """

    first_order: bool = True
    secant: bool = True
    kriging: bool = True


@dataclass(frozen=True, eq=False)
class Correction:
    """What is added to a surrogate, in the coordinates of `scaling`, in which the center is the origin.

    Attributes:
        scaling: Standardization about the center.
        value: (m,).
        gradient: (m, d).
        hessian: (m, d, d).
        kriging: In coordinates divided by `spread`; None without.
        kriging_value: Its values at the center (m,), which are taken off.
        kriging_gradient: Its partials there (m, d), 0 where the truth's are not known.
        spread: Root mean square distance of the points of `kriging`.
        record: Mean log ratio of the errors with and without `kriging` at past candidates (m,), recent ones weigh more.
            Where it is positive, kriging is left out.
    """

    scaling: Scaling
    value: np.ndarray
    gradient: np.ndarray
    hessian: np.ndarray
    kriging: Kriging | None
    kriging_value: np.ndarray
    kriging_gradient: np.ndarray
    spread: float
    record: np.ndarray

    def evaluate(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Evaluate at z (k, d), real or complex: values (k, m) and partials (k, m, d)."""
        values, partials = self.plain(z)
        if self.kriging is not None and self.used.any():
            missed, slopes = self.missed(z)
            values = values + self.used * missed
            partials = partials + self.used[:, None] * slopes
        return values, partials

    def plain(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Evaluate without kriging."""
        bent = np.einsum("mij,kj->kmi", self.hessian, z)
        values = self.value + z @ self.gradient.T + 0.5 * np.einsum("kmi,ki->km", bent, z)
        return values, self.gradient + bent

    def missed(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Evaluate what kriging adds, whether it is used or not."""
        if self.kriging is None:
            return np.zeros((len(z), len(self.value))), np.zeros((len(z), *self.gradient.shape))
        near = z / self.spread
        values, partials = self.kriging.evaluate(near)
        values = values - self.kriging_value - near @ self.kriging_gradient.T
        return values, (partials - self.kriging_gradient) / self.spread

    @property
    def used(self) -> np.ndarray:
        """For which outputs kriging is used, bool (m,)."""
        return self.record <= 0.0


@dataclass(frozen=True, eq=False)
class CorrectedEvaluation:
    """Answer of a corrected surrogate: outputs `y` (n, m), physical, and their partials on request."""

    x: np.ndarray
    y: np.ndarray
    _partials: np.ndarray
    _scaling: Scaling

    def dydx(self) -> np.ndarray:
        """Partials (n, m, d), physical."""
        return self._scaling.unscale_partials(self.x, self.y, self._partials)


@dataclass(frozen=True, eq=False)
class CorrectedSurrogate:
    """A surrogate, or nothing, with a correction.

    Attributes:
        inputs: Variables of the input columns.
        outputs: Variables of the output columns.
        surrogate: The global surrogate, or None.
        correction: What is added.
    """

    inputs: tuple[Variable, ...]
    outputs: tuple[Variable, ...]
    surrogate: SupportsEvaluate | None
    correction: Correction

    @property
    def lower(self) -> np.ndarray:
        """Lower edge (d,) of where it may be asked: everywhere. The region keeps it near the center."""
        return np.full(len(self.correction.scaling.input_mean), -np.inf)

    @property
    def upper(self) -> np.ndarray:
        """Upper edge (d,)."""
        return -self.lower

    @cached_property
    def digest(self) -> str:
        """Hash of what determines the answers near the center."""
        found = hashlib.sha256(self.surrogate.digest.encode() if self.surrogate is not None else b"")
        correction = self.correction
        arrays = [correction.scaling.input_mean, correction.value, correction.gradient, correction.hessian]
        if correction.kriging is not None:
            arrays += [correction.used]
            arrays += [correction.kriging.points, correction.kriging.value_weights, correction.kriging.partial_weights]
        for array in arrays:
            found.update(np.ascontiguousarray(array).tobytes())
        return found.hexdigest()

    def evaluate(self, x: np.ndarray) -> Evaluation:
        """Evaluate x (n, d), physical, real or complex."""
        scaling = self.correction.scaling
        values, partials = self.correction.evaluate(scaling.scale_inputs(x))
        if self.surrogate is not None:
            known, slopes = _answers(self.surrogate, scaling, x)
            values, partials = values + known, partials + slopes
        return CorrectedEvaluation(x, scaling.unscale_outputs(values), partials, scaling)


def correct(
    surrogate: SupportsEvaluate | None,
    data: Dataset,
    center: int,
    pairs: Sequence[tuple[int, int]],
    signs: np.ndarray,
    parts: CorrectionTerms = CorrectionTerms(),  # noqa: B008 (frozen)
    reach: float = np.inf,
    previous: CorrectedSurrogate | None = None,
) -> CorrectedSurrogate:
    """Correct a surrogate about one of the points where the truth is known.

    Args:
        surrogate: The global surrogate, or None to model the truth itself.
        data: Everything known of the truth, the newest last.
        center: Row of the center.
        pairs: Rows at the start and the end of each step the loop has tried, oldest first; they make the secants.
        signs: (m,) sign of the derivative of the objective with respect to the output: 1 where the quadratic should be
            convex, -1 where concave. 0 for what only constraints depend on: there it is as indefinite as the truth.
        parts: Which parts to use.
        reach: Kriging takes no points farther off than this, in units of the inputs' bounds: what fits a wide window
            to ten digits cannot resolve a region a million times smaller.
        previous: The last correction, which proposed the newest point: tells where kriging is worth it.

    Returns:
        The corrected surrogate; value and known partials at the center are the truth's.
    """
    scaling = about(data, center)
    z = scaling.scale_inputs(data.x)
    missed = scaling.scale_outputs(data.y)
    slopes = scaling.scale_partials(data.x, data.y, data.partials)
    if surrogate is not None:
        values, partials = _answers(surrogate, scaling, data.x)
        missed, slopes = missed - values, slopes - partials
    m, d = data.m, data.d
    known = ~np.isnan(slopes[center])
    hessian = np.zeros((m, d, d))
    if parts.secant:
        for output, sign in enumerate(signs):
            secants = [(z[end] - z[start], slopes[end, output] - slopes[start, output]) for start, end in pairs]
            hessian[output] = secant_hessian(secants, float(sign), d) if sign else symmetric_rank_one(secants, d)
    value, gradient = missed[center], slopes[center]
    if not known.all():
        gradient = np.where(known, gradient, _carried(z, slopes, hessian))
    record = _record(previous, data)
    # Without kriging nothing would be learned at a center without partials from the values around it.
    record = np.where(known.all(axis=1), record, np.minimum(record, 0.0))
    plain = Correction(scaling, value, gradient, hessian, None, np.zeros(m), np.zeros((m, d)), 1.0, record)
    correction = plain
    if parts.kriging:
        distance = np.sqrt((z**2).sum(axis=1))
        rows = np.argsort(distance, kind="stable")[: window(d)]
        rows = rows[distance[rows] <= reach]
        explained, inclined = plain.plain(z[rows])
        left, bent = missed[rows] - explained, slopes[rows] - inclined
        within = _resolved(left, bent, z[rows], data.y[rows])
        rows, left, bent = rows[within], left[within], bent[within]
        spread = float(np.sqrt((distance[rows] ** 2).mean()))
        if spread > 0.0:
            noisy = bool(np.isnan(slopes).any())  # partials that are differenced, of values that mostly are
            kriging = krige(z[rows] / spread, left, bent * spread, _lengths(previous), noisy)
            at, along = kriging.evaluate(np.zeros((1, d)))
            along = np.where(known, along[0], 0.0)
            correction = Correction(scaling, value, gradient, hessian, kriging, at[0], along, spread, record)
    return CorrectedSurrogate(data.input_variables, data.output_variables, surrogate, correction)


def _carried(z: np.ndarray, slopes: np.ndarray, hessian: np.ndarray) -> np.ndarray:
    """Partials (m, d) at the origin, carried there from the nearest of the points z (n, d) that knows each output's."""
    found = np.zeros(slopes.shape[1:])
    distance = (z**2).sum(axis=1)
    for output in range(len(found)):
        knows = np.flatnonzero(~np.isnan(slopes[:, output]).any(axis=1))
        if len(knows):
            nearest = knows[distance[knows].argmin()]
            found[output] = slopes[nearest, output] - hessian[output] @ z[nearest]
    return found


def _resolved(left: np.ndarray, bent: np.ndarray, z: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Which points (n,), nearest first, kriging can take without losing the digits that matter at the nearest ones.

    Its matrices have about ten digits. Where the nearest two points miss a millionth of what far ones do, these would
    drown the center in round-off.
    """
    size = np.maximum(np.abs(left), np.abs(np.nansum(bent * z[:, None, :], axis=2)))
    near = np.maximum(size[1:3].max(axis=0, initial=0.0), 1e-14 * np.maximum(1.0, np.abs(y[0])))
    within = (size <= _DIGITS * near).all(axis=1)
    within[:3] = True
    return within


def _lengths(previous: CorrectedSurrogate | None) -> Sequence[int] | None:
    """Where the search for length scales starts: where it ended last."""
    if previous is None or previous.correction.kriging is None:
        return None
    return previous.correction.kriging.length_indices


def _record(previous: CorrectedSurrogate | None, data: Dataset) -> np.ndarray:
    """Record of kriging (m,) after the newest point, see `Correction`."""
    if previous is None:
        return np.zeros(data.m)
    correction, surrogate = previous.correction, previous.surrogate
    if correction.kriging is None:
        return correction.record
    z = correction.scaling.scale_inputs(data.x[-1:])
    truth = correction.scaling.scale_outputs(data.y[-1:])
    size = _ROUND_OFF * np.maximum(1.0, np.abs(truth[0]))
    if surrogate is not None:
        truth = truth - _answers(surrogate, correction.scaling, data.x[-1:])[0]
    error = truth - correction.plain(z)[0]
    without, with_it = np.abs(error[0]) + size, np.abs(error - correction.missed(z)[0])[0] + size
    return _MEMORY * correction.record + np.clip(np.log(with_it / without), -_SURPRISE, _SURPRISE)


def window(d: int) -> int:
    """Number of nearest truths used in d dimensions."""
    return max(min(max(_WINDOW * d, _FEWEST), _MOST_ROWS // (d + 1)), 2)


def about(data: Dataset, center: int) -> Scaling:
    """Coordinates with the origin at a row of the data, in units of the inputs' bounds or, without, the data's spread.

    Outputs are transformed, not scaled.
    """
    transforms = column_transforms(data.input_variables)
    outputs = column_transforms(data.output_variables)
    unit = Scaling(np.zeros(data.d), np.ones(data.d), np.zeros(data.m), np.ones(data.m), transforms, outputs)
    points = unit.transform_inputs(data.x)
    # An input that has hardly moved yet is not on a scale of its own.
    floor = np.maximum(_MOVEMENT * np.abs(points).max(axis=0), _SMALLEST_WIDTH)
    width = np.maximum(np.ptp(points, axis=0), floor)
    low, high = column_bounds(data.input_variables)
    plain = np.array([transform is None for transform in transforms]) & np.isfinite(low) & np.isfinite(high)
    width[plain] = (high - low)[plain]
    return Scaling(points[center], width, np.zeros(data.m), np.ones(data.m), transforms, outputs)


def _answers(surrogate: SupportsEvaluate, scaling: Scaling, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Outputs (n, m) and partials (n, m, d) of a surrogate in the coordinates of `scaling`."""
    answer = surrogate.evaluate(x)
    return scaling.scale_outputs(answer.y), scaling.scale_partials(x, answer.y, answer.dydx())
