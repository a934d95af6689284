"""Named priors: bounds in physical units, shape of the field, and initial parameters."""

from __future__ import annotations

import numpy as np
import pytest

from gradopt import Dataset, Variable
from gradopt.data.scaling import Scaling
from gradopt.priors import Bounded, Constant, Independent, Monotone, Oscillating, Smooth
from gradopt.surrogates.gradinn.priors import NetworkPrior

NAMED = Dataset(
    np.random.default_rng(0).normal(size=(6, 3)) * [1.0, 2.0, 4.0],
    np.random.default_rng(1).normal(size=(6, 2)) * [1.0, 3.0],
    inputs=[Variable("u"), Variable("v", (2,))],
)


@pytest.mark.parametrize(
    ("prior", "low", "high"),
    [
        (Smooth(), [-np.inf] * 3, [np.inf] * 3),
        (Oscillating(), [-np.inf] * 3, [np.inf] * 3),
        (Independent(inputs="u"), [0.0, -np.inf, -np.inf], [0.0, np.inf, np.inf]),
        (Monotone(sign=1, inputs=("u", "v[1]")), [0.0, -np.inf, 0.0], [np.inf] * 3),
        (Monotone(sign=-1, inputs="v[0]"), [-np.inf] * 3, [np.inf, 0.0, np.inf]),
        (Bounded(low=-1.0, high=2.0), [-1.0] * 3, [2.0] * 3),
        (Bounded(high=2.0, inputs="v[1]"), [-np.inf] * 3, [np.inf, np.inf, 2.0]),
    ],
    ids=str,
)
def test_bounds_are_in_physical_units(prior: NetworkPrior, low: list[float], high: list[float]) -> None:
    scaling = Scaling.of(NAMED)
    found = prior.bounds(NAMED, scaling)
    for bound, expected in zip(found, (low, high), strict=True):
        physical = scaling.unscale_partials(NAMED.x[:1], NAMED.y[:1], bound[None])[0]
        np.testing.assert_allclose(physical, np.tile(expected, (2, 1)), rtol=1e-12)


def test_fields_have_their_shape() -> None:
    smooth = Smooth((5,))
    assert smooth.network(3, 2).layer_sizes == (3, 5, 6) and smooth.network(3, 2).activation == "tanh"
    assert Constant().network(3, 2).layer_sizes == (3, 6) and not Constant().active_inputs(3).any()
    assert smooth.active_inputs(3).tolist() == [1.0, 1.0, 1.0]
    waves = Oscillating((7,), frequency=2.0)
    network = waves.network(3, 2)
    found = waves.initialize(3, 2, np.random.default_rng(0))
    assert network.activation == "sin" and len(found) == network.n_parameters
    first = found[network.layers[0][0]].reshape(7, 3)
    np.testing.assert_allclose(np.linalg.norm(first, axis=1), 2.0 * np.pi * 2.0)
