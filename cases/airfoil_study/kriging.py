"""The surrogate of the study: gradient-enhanced kriging of all evaluations, for all conditions at once.

The metric comes from the gradients of one output: for airfoils, some waves of the surface count fifty times as much as
others. The kernel is Matern's 3/2, and the trend is quadratic. With the squared exponential kernel or a straight trend
the surrogate predicts too little drag reduction beyond the known designs, and designs stop too early.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradopt.corrected.correction import CorrectedEvaluation, about
from gradopt.corrected.kriging import Kriging, KrigingConfiguration, krige
from gradopt.data.dataset import Dataset
from gradopt.data.scaling import Scaling

_STEPS = range(-20, 21)  # powers of the ratio between neighboring kernel lengths; by hand


def study_configuration(output: int) -> KrigingConfiguration:
    """Return kernel, metric, trend and lengths of the study; the column of an output gives the metric."""
    return KrigingConfiguration(
        kernel="Matern 3/2",
        metric="gradients",
        metric_output=output,
        trend="quadratic",
        lengths=tuple(2.0 * 1.4**step for step in _STEPS),  # by hand; ends far from the lengths found
        first=_STEPS.index(0),
        nuggets=(1e-9, 1e-7, 1e-5),  # by hand
        near_nugget=1.0,
    )


@dataclass(frozen=True, eq=False)
class StudySurrogate:
    """A fitted surrogate.

    Attributes:
        scaling: Input columns in units of their bounds, output columns transformed.
        kriging: Kriging in these coordinates.
    """

    scaling: Scaling
    kriging: Kriging

    def distances(self, output: int) -> np.ndarray:
        """Return the matrix (d, d) that turns differences of physical inputs into kernel lengths of an output."""
        return self.kriging.in_lengths(output) / self.scaling.input_scale[:, None]

    def evaluate(self, x: np.ndarray) -> CorrectedEvaluation:
        """Evaluate x (k, d), physical."""
        values, partials = self.kriging.evaluate(self.scaling.scale_inputs(x))
        return CorrectedEvaluation(x, self.scaling.unscale_outputs(values), partials, self.scaling)


def fit(data: Dataset, output: int, previous: StudySurrogate | None = None, search: bool = True) -> StudySurrogate:
    """Condition on all values and partials.

    Args:
        data: At least two points; all inputs have bounds.
        output: Column whose gradients give the metric: the objective's, where the others are smoother.
        previous: An earlier fit, at whose lengths the search starts.
        search: Whether to search for the lengths; without it they are those of `previous`.

    Returns:
        The surrogate.
    """
    scaling = about(data, 0)
    kriging = krige(
        scaling.scale_inputs(data.x),
        scaling.scale_outputs(data.y),
        scaling.scale_partials(data.x, data.y, data.partials),
        None if previous is None else previous.kriging.length_indices,
        configuration=study_configuration(output),
        search=search or previous is None,
    )
    return StudySurrogate(scaling, kriging)
