"""A design study: many conditions, one optimization problem for each, one surrogate for all.

The problems share a truth model, short truth. They differ in their bounds and in inputs that each condition fixes. The
engine begins conditions in waves. In each iteration, the engine minimizes on the surrogate for every active condition,
within a trust region about its best design or, at first, about the best designs of the nearest conditions; evaluates
the truth at all candidates together; and fits the surrogate again, once for all. A condition stops where the KKT
conditions hold on the truth, or where the predicted reduction of the merit is small: at a best design, the surrogate
has the values and partials of the truth. After the waves, the engine evaluates batches of the candidates with the
largest predicted reductions, whichever conditions these have, because the surrogate has more data by then.

The trust region is a ball in the metric of the surrogate: long where the truth is smooth, short where it is not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from cases.airfoil_study.kriging import StudySurrogate, fit
from gradopt.data.dataset import Dataset
from gradopt.loop.subproblem import solve_subproblem
from gradopt.loop.trust_region import TrustRegion
from gradopt.optimality.kkt import KKT
from gradopt.optimality.merit import initial_penalties, merit, next_penalties
from gradopt.optimality.problem import Limits, Responses

# All by hand.
_REGION_PENALTY = 50.0  # merit for each unit of squared distance outside the trust region, times the squared radius
_GROWTH = 1.15  # ratio of data sizes from one search for kernel lengths to the next; a search takes three fits
_MARGIN = 0.1  # share of a predicted reduction by which a candidate near another design must be better
_INFEASIBLE_BONUS = (
    0.02  # added to the predicted reduction of an infeasible design in a ranking, scaled as the objective
)
_SAME = 1e-6  # kernel lengths: a candidate nearer to the center of its trust region is the center


class Problems(Protocol):
    """The problems of the conditions, and the truth behind them."""

    @property
    def size(self) -> int:
        """Number of conditions."""
        ...

    def limits(self, index: int) -> Limits:
        """Return the bounds of the problem of a condition."""
        ...

    def start(self, index: int) -> np.ndarray:
        """Return the design variables (k,) at which a condition without neighbors starts."""
        ...

    def inputs_at(self, index: int, u: np.ndarray) -> np.ndarray:
        """Return inputs of the truth (d,) at design variables (k,); the first k inputs are the design variables."""
        ...

    def responses(self, u: np.ndarray, y: np.ndarray, dydx: np.ndarray) -> Responses:
        """Return responses from outputs (m,) and partials (m, d)."""
        ...

    def kkt(self, index: int, responses: Responses) -> KKT:
        """Return the KKT conditions."""
        ...

    def evaluate(self, x: np.ndarray) -> Dataset:
        """Evaluate the truth at points (n, d); return all evaluations so far, the newest last."""
        ...


@dataclass(frozen=True)
class Rules:
    """Settings of the engine; the defaults were chosen by hand.

    Attributes:
        waves: Numbers of conditions in each wave, the last number for all waves that follow.
        radius: First radius of a trust region, kernel lengths.
        largest_radius: Largest radius of a trust region, kernel lengths.
        iterations: Most iterations in each wave, the last number for all waves that follow.
        least_reduction: Predicted reduction of the merit below which a condition stops, scaled as the objective.
        feasibility: Largest violation with which a condition may stop, scaled as the constraints.
        neighbors: Number of other designs about which the engine minimizes.
        least_penalty: Least penalty of a violation.
        budget: Truth evaluations for each condition, first samples included, that end the batches after the waves.
        batch: Number of candidates in a batch.
        final_iterations: Most iterations at the end for designs that are infeasible.
        final_radius: Radius of their trust regions, kernel lengths.
        metric_output: Column of the output whose gradients give the metric of the surrogate, and in whose kernel
            lengths distances are measured.
    """

    waves: tuple[int, ...] = (1, 2, 4, 6, 8)
    radius: float = 1.0
    largest_radius: float = 4.0
    iterations: tuple[int, ...] = (14, 1)
    least_reduction: float = 5e-4
    feasibility: float = 1e-3
    neighbors: int = 6
    least_penalty: float = 2.0
    budget: float = 8.0
    batch: int = 10
    final_iterations: int = 8
    final_radius: float = 0.2
    metric_output: int = 1


@dataclass(frozen=True, eq=False)
class Design:
    """State of the design for one condition.

    Attributes:
        index: Index of the condition.
        best: Responses of the truth at the best design so far; None before the first evaluation that succeeds.
        kkt: KKT conditions there, or None.
        penalties: Penalties of the merit (p,).
        trust_region: Trust region about the best design, kernel lengths.
        evaluations: Truth evaluations for this condition that succeeded.
        predicted_reduction: Last reduction of the merit that the surrogate predicted.
    """

    index: int
    best: Responses | None
    kkt: KKT | None
    penalties: np.ndarray
    trust_region: TrustRegion
    evaluations: int = 0
    predicted_reduction: float = np.inf

    @property
    def certified(self) -> bool:
        """Whether the KKT conditions hold on the truth."""
        return self.kkt is not None and self.kkt.certified


@dataclass(frozen=True, eq=False)
class _Candidate:
    index: int
    predicted: Responses
    length: float
    predicted_reduction: float


@dataclass
class Engine:
    """Solves the problems of all conditions.

    Attributes:
        problems: The problems.
        rules: Settings.
        place: Coordinates (n, q) in which conditions are neighbors.
        report: Function called after each iteration with the numbers of conditions begun, of all conditions, and of
            evaluations.
        designs: Designs by index of their condition.
        surrogate: Surrogate of the truth; None before the first fit.
        data: Evaluations; None before the first.
    """

    problems: Problems
    rules: Rules
    place: np.ndarray
    report: Callable[[int, int, int], None] = lambda begun, size, evaluations: None
    designs: dict[int, Design] = field(default_factory=dict)
    surrogate: StudySurrogate | None = None
    data: Dataset | None = None
    _searched: int = 0

    def solve(self, order: Sequence[int], initial: np.ndarray) -> list[Design]:
        """Solve all problems.

        Args:
            order: Indices of the conditions in the order in which they begin.
            initial: Points (n, d) of the first evaluations, two at least.

        Returns:
            The designs, by index.
        """
        self.designs, self.surrogate, self._searched = {}, None, 0
        self._evaluate_and_fit(initial)
        waiting, wave = list(order), 0
        while waiting:
            count = self.rules.waves[min(wave, len(self.rules.waves) - 1)]
            active, waiting = waiting[:count], waiting[count:]
            self._iterate(active, self.rules.iterations[min(wave, len(self.rules.iterations) - 1)])
            wave += 1
        while self._data.n < self.rules.budget * len(order):
            if not self._evaluate_batch(order):
                break
        for _ in range(self.rules.final_iterations):
            infeasible = [index for index in order if not self._feasible(self.designs[index])]
            self._set_radius(infeasible, self.rules.final_radius)
            self._iterate(infeasible, 1)
        for index in order:  # predicted reductions from all data
            self._candidate(index)
        return [self.designs[index] for index in range(self.problems.size)]

    def _evaluate_batch(self, order: Sequence[int]) -> bool:
        """Evaluate the candidates with the largest predicted reductions; return whether there were any candidates."""
        found = [one for index in order if (one := self._candidate(index, wide=True)) is not None]
        bonus = {one.index: 0.0 if self._feasible(self.designs[one.index]) else _INFEASIBLE_BONUS for one in found}
        found.sort(key=lambda one: -(one.predicted_reduction + bonus[one.index]))
        self._evaluate(found[: self.rules.batch])
        return bool(found)

    def _set_radius(self, active: Sequence[int], radius: float) -> None:
        for index in active:
            design = self.designs[index]
            self.designs[index] = replace(design, trust_region=replace(design.trust_region, radius=radius))

    def _iterate(self, active: list[int], iterations: int) -> None:
        """Iterate until all of these conditions have stopped."""
        for _ in range(iterations):
            found = [one for index in active if (one := self._candidate(index)) is not None]
            if not found:
                return
            self._evaluate(found)
            active = [one.index for one in found]

    def _evaluate(self, found: Sequence[_Candidate]) -> None:
        """Evaluate the truth at candidates, fit, and accept or reject the candidates."""
        if not found:
            return
        points = np.array([self.problems.inputs_at(one.index, one.predicted.u) for one in found])
        self._evaluate_and_fit(points)
        for one, point in zip(found, points, strict=True):
            rows = np.flatnonzero((self._data.x == point).all(axis=1))
            if rows.size:
                known = self._data.y[rows[0]], self._data.partials[rows[0]]
                self._accept_or_reject(one, self.problems.responses(one.predicted.u, *known))
            else:  # the evaluation failed: shrink
                design = self.designs[one.index]
                shrunk = design.trust_region.after(np.nan, one.length)
                self.designs[one.index] = replace(design, trust_region=shrunk)
        self.report(len(self.designs), self.problems.size, self._data.n)

    @property
    def _data(self) -> Dataset:
        assert self.data is not None
        return self.data

    def _evaluate_and_fit(self, points: np.ndarray) -> None:
        self.data = self.problems.evaluate(points)
        search = self.data.n >= _GROWTH * self._searched
        if search:
            self._searched = self.data.n
        self.surrogate = fit(self.data, self.rules.metric_output, self.surrogate, search)

    def _candidate(self, index: int, wide: bool = False) -> _Candidate | None:
        """Return the minimum on the surrogate in the trust region of a condition; None where the condition stops.

        With `wide`, a minimum about the best design of another condition replaces it if that is clearly better.
        """
        design = self.designs.get(index)
        limits = self.problems.limits(index)
        if design is None or design.best is None:
            return self._first(index, limits)
        if design.certified:
            return None
        inputs_at = self._inputs_of(index)
        found, length = self._minimize(inputs_at, limits, design.best, design.penalties, design.trust_region.radius)
        before = merit(design.best, limits, design.penalties)
        reduction = before - merit(found, limits, design.penalties)
        if wide:
            for start in self._nearby(index):
                other, _ = self._minimize(
                    inputs_at, limits, self._predict(inputs_at, start), design.penalties, self.rules.radius
                )
                better = before - merit(other, limits, design.penalties)
                if better > reduction + _MARGIN * abs(reduction):
                    found, reduction = other, better
                    length = float(np.linalg.norm((other.u - design.best.u) @ self._metric))
        self.designs[index] = replace(design, predicted_reduction=reduction)
        feasible = self._feasible(design)
        # Conditions of the first wave go on to the end, because the others start from their designs.
        least = self.rules.least_reduction if len(self.designs) > self.rules.waves[0] else 0.0
        if length < _SAME or (feasible and reduction < least):
            return None
        return _Candidate(index, found, length, reduction)

    def _feasible(self, design: Design) -> bool:
        if design.best is None:
            return False
        violations = self.problems.limits(design.index).violations(design.best.c)
        return float(violations.max(initial=0.0)) <= self.rules.feasibility

    def _first(self, index: int, limits: Limits) -> _Candidate:
        """Return the best of the minima about the best designs of the nearest conditions."""
        near = self._nearby(index)
        starts = near or [self.problems.start(index)]
        inputs_at = self._inputs_of(index)
        centers = [self._predict(inputs_at, start) for start in starts]
        penalties = initial_penalties(centers[0], self.problems.kkt(index, centers[0]).multipliers)
        penalties = np.maximum(penalties, self.rules.least_penalty)
        radius = self.rules.radius if near else 0.5 * self.rules.radius
        trust_region = TrustRegion(radius=self.rules.radius, largest=self.rules.largest_radius)
        self.designs[index] = Design(index, None, None, penalties, trust_region)
        found = [self._minimize(inputs_at, limits, center, penalties, radius) for center in centers]
        best, length = min(found, key=lambda one: merit(one[0], limits, penalties))
        return _Candidate(index, best, length, np.inf)

    def _nearby(self, index: int) -> list[np.ndarray]:
        """Return the best designs (k,) of the nearest other conditions."""
        known = [one for one in self.designs.values() if one.best is not None and one.index != index]
        known.sort(key=lambda one: float(np.linalg.norm(self.place[one.index] - self.place[index])))
        return [one.best.u for one in known[: self.rules.neighbors] if one.best is not None]

    def _accept_or_reject(self, one: _Candidate, true: Responses) -> None:
        design, limits = self.designs[one.index], self.problems.limits(one.index)
        design = replace(design, evaluations=design.evaluations + 1)
        kkt = self.problems.kkt(one.index, true)
        if design.best is not None:
            reduction = merit(design.best, limits, design.penalties) - merit(true, limits, design.penalties)
            ratio = reduction / one.predicted_reduction if one.predicted_reduction > 0.0 else -1.0
            design = replace(design, trust_region=design.trust_region.after(ratio, one.length))
            if reduction <= 0.0:
                self.designs[one.index] = design
                return
        penalties = np.maximum(next_penalties(design.penalties, kkt.multipliers), self.rules.least_penalty)
        self.designs[one.index] = replace(design, best=true, kkt=kkt, penalties=penalties)

    @property
    def _metric(self) -> np.ndarray:
        """Matrix (k, d) that turns differences of design variables into kernel lengths."""
        assert self.surrogate is not None
        return self.surrogate.distances(self.rules.metric_output)[: len(self.problems.limits(0).lower)]

    def optimum(
        self, limits: Limits, inputs_at: Callable[[np.ndarray], np.ndarray], starts: Sequence[np.ndarray], radius: float
    ) -> Responses:
        """Minimize on the surrogate alone, for any condition.

        Args:
            limits: Bounds of the problem.
            inputs_at: Function that turns design variables (k,) into inputs of the truth (d,).
            starts: Centers (k,) of trust regions, such as the designs of conditions nearby.
            radius: Radius of the trust regions, kernel lengths.

        Returns:
            Responses of the surrogate at the best minimum.
        """
        penalties = np.full(len(limits.c_lower), 10.0 * self.rules.least_penalty)
        centers = [self._predict(inputs_at, start) for start in starts]
        found = [self._minimize(inputs_at, limits, center, penalties, radius)[0] for center in centers]
        return min(found, key=lambda one: merit(one, limits, penalties))

    def _inputs_of(self, index: int) -> Callable[[np.ndarray], np.ndarray]:
        return lambda u: self.problems.inputs_at(index, u)

    def _predict(self, inputs_at: Callable[[np.ndarray], np.ndarray], u: np.ndarray) -> Responses:
        assert self.surrogate is not None
        found = self.surrogate.evaluate(inputs_at(u)[None])
        return self.problems.responses(u, found.y[0], found.dydx()[0])

    def _minimize(
        self,
        inputs_at: Callable[[np.ndarray], np.ndarray],
        limits: Limits,
        center: Responses,
        penalties: np.ndarray,
        radius: float,
    ) -> tuple[Responses, float]:
        """Minimize on the surrogate in a trust region; return the responses and the distance from the center."""
        p, metric = len(center.c), self._metric
        limited = replace(
            limits, c_lower=np.append(limits.c_lower, -np.inf), c_upper=np.append(limits.c_upper, radius**2)
        )

        def with_distance(found: Responses) -> Responses:
            away = (found.u - center.u) @ metric
            jacobian = np.vstack([found.jacobian, 2.0 * metric @ away])
            return replace(found, c=np.append(found.c, away @ away), jacobian=jacobian)

        found = solve_subproblem(
            lambda u: with_distance(self._predict(inputs_at, u)),
            limited,
            with_distance(center),
            (limits.lower, limits.upper),
            np.append(penalties, _REGION_PENALTY / radius**2),
        ).predicted
        return replace(found, c=found.c[:p], jacobian=found.jacobian[:p]), float(np.sqrt(found.c[-1]))
