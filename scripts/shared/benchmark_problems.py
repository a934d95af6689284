"""Functions on which surrogates are compared, in torch operations, with exact partials by autograd.

For `surrogates`, `gradinn` and `jenn`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

import gradopt
from gradopt import Dataset, Variable

TEST_SEED, TEST_POINTS = 20_260_101, 1000  # of the test points; seed and number by hand
SURJANOVIC = "Surjanovic and Bingham (2013), Virtual Library of Simulation Experiments"


@dataclass(frozen=True, eq=False)
class Problem:
    """A function of d inputs within bounds.

    Attributes:
        name: Name in tables.
        lower: Lower bounds of the inputs (d,).
        upper: Upper bounds (d,).
        function: Function from x (n, d) to values (n,), row by row, in torch operations.
        source: Source of the function and of its bounds.
    """

    name: str
    lower: tuple[float, ...]
    upper: tuple[float, ...]
    function: Callable[[Tensor], Tensor]
    source: str

    @property
    def d(self) -> int:
        """Number of inputs."""
        return len(self.lower)

    @property
    def inputs(self) -> tuple[Variable, ...]:
        """All inputs as one variable with bounds."""
        return (Variable("x", (self.d,), lower=np.array(self.lower), upper=np.array(self.upper)),)

    def evaluate(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Evaluate values (n, 1) and exact partials (n, 1, d) at x (n, d)."""
        points = torch.tensor(x, dtype=torch.float64, requires_grad=True)
        values = self.function(points)
        (partials,) = torch.autograd.grad(values.sum(), points)
        return values.detach().numpy()[:, None], partials.numpy()[:, None, :]

    def sample(self, n: int, seed: int) -> Dataset:
        """Evaluate the function on a Latin hypercube of n points."""
        x = gradopt.sampling.latin_hypercube(self.inputs, n, seed)
        return Dataset(x, *self.evaluate(x), self.inputs)

    def test(self) -> Dataset:
        """Evaluate the function at the test points, the same in all scripts."""
        return self.sample(TEST_POINTS, TEST_SEED)


def with_noise(data: Dataset, level: float, seed: int) -> Dataset:
    """Add normal noise to the partials: `level` times the root mean square of each partial over the samples."""
    size = np.sqrt((data.partials**2).mean(axis=0))
    draw = np.random.default_rng([seed, 1]).standard_normal(data.partials.shape)
    return replace(data, dydx=data.partials + level * size * draw)


def rosenbrock(x: Tensor) -> Tensor:
    """Sum of 100 (next - x^2)^2 + (1 - x)^2 over neighbors."""
    return (100.0 * (x[:, 1:] - x[:, :-1] ** 2) ** 2 + (1.0 - x[:, :-1]) ** 2).sum(dim=1)


def rastrigin(x: Tensor) -> Tensor:
    """Sum of x^2 - 10 cos(2 pi x) + 10."""
    return (x**2 - 10.0 * torch.cos(2.0 * torch.pi * x) + 10.0).sum(dim=1)


def branin(x: Tensor) -> Tensor:
    """Branin's function, with three minima."""
    a, b = x.T
    bend = b - 5.1 / (4.0 * torch.pi**2) * a**2 + 5.0 / torch.pi * a - 6.0
    return bend**2 + 10.0 * (1.0 - 1.0 / (8.0 * torch.pi)) * torch.cos(a) + 10.0


def sine(x: Tensor) -> Tensor:
    """Sine of the only input."""
    return torch.sin(x[:, 0])


def friedman_1(x: Tensor) -> Tensor:
    """Friedman's first function, without noise and without its idle inputs."""
    a, b, c, d, e = x.T
    return 10.0 * torch.sin(torch.pi * a * b) + 20.0 * (c - 0.5) ** 2 + 10.0 * d + 5.0 * e


def borehole(x: Tensor) -> Tensor:
    """Flow of water through a borehole, m^3/yr."""
    rw, r, tu, hu, tl, hl, length, kw = x.T
    log = torch.log(r / rw)
    return 2.0 * torch.pi * tu * (hu - hl) / (log * (1.0 + 2.0 * length * tu / (log * rw**2 * kw) + tu / tl))


def otl_circuit(x: Tensor) -> Tensor:
    """Midpoint voltage of a push-pull circuit without output transformer, V."""
    rb1, rb2, rf, rc1, rc2, beta = x.T
    vb1 = 12.0 * rb2 / (rb1 + rb2)
    gain = beta * (rc2 + 9.0)
    return (vb1 + 0.74) * gain / (gain + rf) + 11.35 * rf / (gain + rf) + 0.74 * rf * gain / ((gain + rf) * rc1)


def piston(x: Tensor) -> Tensor:
    """Cycle time of a piston, s."""
    m, s, v0, k, p0, ta, t0 = x.T
    a = p0 * s + 19.62 * m - k * v0 / s
    pressure = p0 * v0 / t0 * ta
    v = s / (2.0 * k) * (torch.sqrt(a**2 + 4.0 * k * pressure) - a)
    return 2.0 * torch.pi * torch.sqrt(m / (k + s**2 * pressure / v**2))


def wing_weight(x: Tensor) -> Tensor:
    """Weight of the wing of a light aircraft, lb; the sweep is in degrees."""
    sw, wfw, aspect, sweep, q, taper, tc, nz, wdg, wp = x.T
    cosine = torch.cos(torch.deg2rad(sweep))
    shape = (aspect / cosine**2) ** 0.6 * q**0.006 * taper**0.04 * (100.0 * tc / cosine) ** -0.3
    return 0.036 * sw**0.758 * wfw**0.0035 * shape * (nz * wdg) ** 0.49 + sw * wp


def robot_arm(x: Tensor) -> Tensor:
    """Distance of the end of an arm of four segments from its base; inputs: four angles (rad), then four lengths."""
    angles, lengths = torch.cumsum(x[:, :4], dim=1), x[:, 4:]
    return torch.hypot((lengths * torch.cos(angles)).sum(dim=1), (lengths * torch.sin(angles)).sum(dim=1))


def torsion(x: Tensor) -> Tensor:
    """Lower natural frequency of two disks on three shafts, Hz."""
    d1, l1, g1, l3, g3, disk1, d2, l2, g2, d3, t1, rho1, disk2, t2, rho2 = x.T
    k1, k2, k3 = (torch.pi * g * d / (32.0 * length) for g, d, length in ((g1, d1, l1), (g2, d2, l2), (g3, d3, l3)))
    j1, j2 = (
        0.5 * rho * torch.pi * t * disk / (4.0 * 9.80665) * (disk / 2.0) ** 2
        for rho, t, disk in ((rho1, t1, disk1), (rho2, t2, disk2))
    )
    b = -((k1 + k2) / j1 + (k2 + k3) / j2)
    c = (k1 * k2 + k2 * k3 + k3 * k1) / (j1 * j2)
    return torch.sqrt((-b - torch.sqrt(b**2 - 4.0 * c)) / 2.0) / (2.0 * torch.pi)


def _cube(name: str, function: Callable[[Tensor], Tensor], d: int, low: float, high: float, source: str) -> Problem:
    return Problem(name, (low,) * d, (high,) * d, function, source)


_ROSENBROCK = "Rosenbrock (1960), doi 10.1093/comjnl/3.3.175; in d dimensions as in scipy.optimize.rosen"
_TORSION = (2.0, 10.0, 1.17e7, 8.0, 3.9e6, 12.0, 1.825, 12.0, 6.2e6, 2.25, 3.0, 0.28, 14.0, 4.0, 0.1)
_ALL = (
    _cube("sine", sine, 1, 0.0, 2.0 * np.pi, "sin(x) on one period, like the sinusoid of the jenn package"),
    _cube("rosenbrock_2", rosenbrock, 2, -2.0, 2.0, _ROSENBROCK),
    _cube(
        "rastrigin_2",
        rastrigin,
        2,
        -1.5,
        1.5,
        "Rastrigin (1974); " + SURJANOVIC + ", within bounds that hold nine minima",
    ),
    Problem("branin", (-5.0, 0.0), (10.0, 15.0), branin, SURJANOVIC),
    _cube("rosenbrock_5", rosenbrock, 5, -2.0, 2.0, _ROSENBROCK),
    _cube("friedman_1", friedman_1, 5, 0.0, 1.0, "Friedman (1991), doi 10.1214/aos/1176347963"),
    Problem(
        "otl_circuit",
        (50.0, 25.0, 0.5, 1.2, 0.25, 50.0),
        (150.0, 70.0, 3.0, 2.5, 1.2, 300.0),
        otl_circuit,
        "Ben-Ari and Steinberg (2007), doi 10.1080/08982110701580930",
    ),
    Problem(
        "piston",
        (30.0, 0.005, 0.002, 1000.0, 90000.0, 290.0, 340.0),
        (60.0, 0.020, 0.010, 5000.0, 110000.0, 296.0, 360.0),
        piston,
        "Kenett and Zacks (1998), Modern Industrial Statistics; " + SURJANOVIC,
    ),
    Problem(
        "borehole",
        (0.05, 100.0, 63070.0, 990.0, 63.1, 700.0, 1120.0, 9855.0),
        (0.15, 50000.0, 115600.0, 1110.0, 116.0, 820.0, 1680.0, 12045.0),
        borehole,
        "Morris, Mitchell and Ylvisaker (1993), doi 10.1080/00401706.1993.10485320; smt.problems.WaterFlow",
    ),
    Problem(
        "robot_arm",
        (0.0,) * 8,
        (2.0 * np.pi,) * 4 + (1.0,) * 4,
        robot_arm,
        "An and Owen (2001), doi 10.1006/jcom.2001.0588; smt.problems.RobotArm",
    ),
    _cube("rosenbrock_10", rosenbrock, 10, -2.0, 2.0, _ROSENBROCK),
    Problem(
        "wing_weight",
        (150.0, 220.0, 6.0, -10.0, 16.0, 0.5, 0.08, 2.5, 1700.0, 0.025),
        (200.0, 300.0, 10.0, 10.0, 45.0, 1.0, 0.18, 6.0, 2500.0, 0.08),
        wing_weight,
        "Forrester, Sobester and Keane (2008), Engineering Design via Surrogate Modelling; smt.problems.WingWeight",
    ),
    Problem(
        "torsion",
        tuple(0.9 * center for center in _TORSION),
        tuple(1.1 * center for center in _TORSION),
        torsion,
        "Liu, Xu and Wang (2016), ASME Turbo Expo; smt.problems.TorsionVibration",
    ),
)
PROBLEMS: dict[str, Problem] = {problem.name: problem for problem in _ALL}
