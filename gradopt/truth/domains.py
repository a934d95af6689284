"""Points at which an output has no transformed value, such as the log of a negative drag: failed evaluations."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from gradopt.data.scaling import column_transforms, outside_domain
from gradopt.data.variables import Variable, column_names
from gradopt.truth.protocol import Evaluations, PointStatus

_WRITTEN = re.compile(r"'([^']+)' is \S+, outside the domain of its transform '(\w+)'\.")


def fail_outside_domain(
    found: Evaluations, outputs: Sequence[Variable], inputs: Sequence[Variable] = ()
) -> Evaluations:
    """Turn the points of which an output is outside the domain of its transform into failed ones.

    Args:
        found: Evaluations of n points.
        outputs: Variables of the columns of y.
        inputs: Variables of the columns of x, where points with an input outside have failed too.

    Returns:
        The same evaluations where all numbers are inside; otherwise a copy whose points outside have the status
        FAILED, NaN in the place of results, and a message that names the variable, its value and the transform.
    """
    variables = (*outputs, *inputs)
    if all(variable.transform is None for variable in variables):
        return found
    values = np.concatenate([found.y, found.x], axis=1) if inputs else found.y
    outside = outside_domain(values, variables) & found.ok[:, None]
    rows = outside.any(axis=1)
    if not rows.any():
        return found
    status, message = list(found.status), list(found.message)
    for row in np.flatnonzero(rows):
        column = int(np.flatnonzero(outside[row])[0])
        name, transform = column_names(variables)[column], column_transforms(variables)[column]
        status[row] = PointStatus.FAILED
        message[row] = (
            f"{name!r} is {values[row, column]:.6g}, outside the domain of its transform {transform!r}. Drop the "
            "transform if such values are right."
        )
    y, dydx = np.where(rows[:, None], np.nan, found.y), np.where(rows[:, None, None], np.nan, found.dydx)
    return Evaluations(found.x, y, dydx, status, message, found.seconds)


def failed_by_former_transform(found: Evaluations, outputs: Sequence[Variable]) -> bool:
    """Return whether the one point of `found` failed for a transform that the output no longer has.

    Args:
        found: Evaluations of one point, as stored.
        outputs: Variables of the columns of y, as they are now.

    Returns:
        Whether the point has to be evaluated again.
    """
    written = _WRITTEN.match(found.message[0])
    transforms = dict(zip(column_names(outputs), column_transforms(outputs), strict=True))
    return written is not None and transforms.get(written[1]) != written[2]
