"""Many related problems on one surrogate: what one learns serves all.

The problems share a truth and differ in their bounds and in inputs that each holds fixed. Members are taken up in
waves. In each round every active member minimizes on the surrogate, within a ball about its best design or, at first,
about the designs of the nearest members before it; the truth is asked at all these candidates together; then the
surrogate is fitted again, once for all. A member rests where the optimality conditions hold on the truth, or where the
surrogate, which is the truth's in value and partials there, promises no more than a given gain. After the waves the
truth is asked, in batches, where most is promised, whichever members these are: the surrogate has learned since then.

The ball is in the surrogate's own metric: a trust region long where the truth is smooth and short where it is not.
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

_BALL = 50.0  # penalty of leaving the ball, over its squared radius
_GROWTH = 1.15  # of the data until the length scale is searched again, which takes three fits
_ELSEWHERE = 0.1  # part of the promise by which a candidate about another member's design must be the better one
_HEAD_START = 0.02  # of members that are not feasible yet over those that may gain more, scaled as the objective
_FAR = 1e-6  # kernel lengths: a candidate nearer to its center is none


class Family(Protocol):
    """What the engine asks of the side that knows the truth."""

    @property
    def size(self) -> int:
        """Number of members."""
        ...

    def limits(self, member: int) -> Limits:
        """Bounds of a member's problem."""
        ...

    def start(self, member: int) -> np.ndarray:
        """Where a member starts that has no neighbor yet (k,)."""
        ...

    def inputs_at(self, member: int, u: np.ndarray) -> np.ndarray:
        """Inputs of the truth (d,) at design variables (k,); the first k inputs are the design variables."""
        ...

    def responses(self, u: np.ndarray, y: np.ndarray, dydx: np.ndarray) -> Responses:
        """Responses from outputs (m,) and partials (m, d)."""
        ...

    def conditions(self, member: int, responses: Responses) -> KKT:
        """Optimality conditions."""
        ...

    def ask(self, x: np.ndarray) -> Dataset:
        """All that is known of the truth after it was asked at points (n, d); the newest last."""
        ...


@dataclass(frozen=True)
class Rules:
    """Settings of the engine.

    Attributes:
        waves: Members in each wave, the last number for all that follow.
        radius: First radius of the ball, kernel lengths.
        largest: Largest radius.
        rounds: Rounds of each wave at most, the last number for all that follow.
        gain: Promised improvement of the merit below which a member rests, scaled as the objective.
        feasible: Largest violation of a member that may rest.
        neighbors: Designs of other members to start from.
        penalty: Least penalty of a violation.
        budget: Truth evaluations for each member up to which, after the waves, the candidates that promise most are
            asked.
        batch: How many of them are asked together.
        finish: Rounds at most in the end for members that are not feasible yet.
        finish_radius: Radius of their ball.
        metric_output: Output whose gradients show the metric, and in whose kernel lengths the ball is measured.
    """

    waves: tuple[int, ...] = (1, 2, 4, 6, 8)
    radius: float = 1.0
    largest: float = 4.0
    rounds: tuple[int, ...] = (14, 1)
    gain: float = 5e-4
    feasible: float = 1e-3
    neighbors: int = 6
    penalty: float = 2.0
    budget: float = 8.0
    batch: int = 10
    finish: int = 8
    finish_radius: float = 0.2
    metric_output: int = 1


@dataclass(frozen=True, eq=False)
class Member:
    """What is known of one member.

    Attributes:
        index: Which one.
        best: Responses of the truth at its best design; None before the first.
        kkt: Optimality conditions there.
        penalties: Of its merit.
        region: Its ball, in kernel lengths.
        asked: Truth evaluations that it asked for.
        promised: Improvement of the merit that the surrogate promised last.
    """

    index: int
    best: Responses | None
    kkt: KKT | None
    penalties: np.ndarray
    region: TrustRegion
    asked: int = 0
    promised: float = np.inf

    @property
    def certified(self) -> bool:
        """Whether the optimality conditions hold on the truth."""
        return self.kkt is not None and self.kkt.certified


@dataclass(frozen=True, eq=False)
class _Candidate:
    member: int
    predicted: Responses
    length: float
    promised: float


@dataclass
class Engine:
    """Solves a family.

    Attributes:
        family: The problems.
        rules: Settings.
        place: Coordinates in which members are neighbors (n, q).
        report: Told of each round: how many members rest, how many there are, evaluations.
    """

    family: Family
    rules: Rules
    place: np.ndarray
    report: Callable[[int, int, int], None] = lambda resting, size, evaluations: None
    members: dict[int, Member] = field(default_factory=dict)
    surrogate: StudySurrogate | None = None
    data: Dataset | None = None
    _searched: int = 0

    def solve(self, order: Sequence[int], initial: np.ndarray) -> list[Member]:
        """Solve all members.

        Args:
            order: Members in the order in which they are taken up.
            initial: Points (n, d) at which the truth is asked before, two at least.

        Returns:
            The members, by index.
        """
        self.members, self.surrogate, self._searched = {}, None, 0
        self._learn(initial)
        waiting, wave = list(order), 0
        while waiting:
            count = self.rules.waves[min(wave, len(self.rules.waves) - 1)]
            active, waiting = waiting[:count], waiting[count:]
            self._settle(active, self.rules.rounds[min(wave, len(self.rules.rounds) - 1)])
            wave += 1
        while self._data.n < self.rules.budget * len(order):
            if not self._improve(order):
                break
        for _ in range(self.rules.finish):
            open_ = [index for index in order if not self._feasible(self.members[index])]
            self._set_radius(open_, self.rules.finish_radius)
            self._settle(open_, 1)
        for index in order:  # what the surrogate promises now that it knows everything
            self._candidate(index)
        return [self.members[index] for index in range(self.family.size)]

    def _improve(self, order: Sequence[int]) -> bool:
        """Ask the truth at the candidates that promise most; False where none promises anything."""
        found = [one for index in order if (one := self._candidate(index, wide=True)) is not None]
        head_start = {one.member: 0.0 if self._feasible(self.members[one.member]) else _HEAD_START for one in found}
        found.sort(key=lambda one: -(one.promised + head_start[one.member]))
        self._ask(found[: self.rules.batch])
        return bool(found)

    def _set_radius(self, active: Sequence[int], radius: float) -> None:
        for index in active:
            member = self.members[index]
            self.members[index] = replace(member, region=replace(member.region, radius=radius))

    def _settle(self, active: list[int], rounds: int) -> None:
        """Play rounds until all of these members rest."""
        for _ in range(rounds):
            found = [one for index in active if (one := self._candidate(index)) is not None]
            if not found:
                return
            self._ask(found)
            active = [one.member for one in found]

    def _ask(self, found: Sequence[_Candidate]) -> None:
        """Ask the truth at candidates, learn, and judge them."""
        if not found:
            return
        points = np.array([self.family.inputs_at(one.member, one.predicted.u) for one in found])
        self._learn(points)
        for one, point in zip(found, points, strict=True):
            rows = np.flatnonzero((self._data.x == point).all(axis=1))
            if rows.size:
                known = self._data.y[rows[0]], self._data.partials[rows[0]]
                self._judge(one, self.family.responses(one.predicted.u, *known))
            else:  # the truth failed there: come nearer
                member = self.members[one.member]
                self.members[one.member] = replace(member, region=member.region.after(np.nan, one.length))
        self.report(len(self.members), self.family.size, self._data.n)

    @property
    def _data(self) -> Dataset:
        assert self.data is not None
        return self.data

    def _learn(self, points: np.ndarray) -> None:
        self.data = self.family.ask(points)
        search = self.data.n >= _GROWTH * self._searched
        if search:
            self._searched = self.data.n
        self.surrogate = fit(self.data, self.rules.metric_output, self.surrogate, search)

    def _candidate(self, index: int, wide: bool = False) -> _Candidate | None:
        """Where the surrogate wants a member to go; None where it rests."""
        member = self.members.get(index)
        limits = self.family.limits(index)
        if member is None or member.best is None:
            return self._first(index, limits)
        if member.certified:
            return None
        inputs_at = self._inputs_of(index)
        found, length = self._minimize(inputs_at, limits, member.best, member.penalties, member.region.radius)
        before = merit(member.best, limits, member.penalties)
        promised = before - merit(found, limits, member.penalties)
        if wide:
            for start in self._nearby(index):
                other, _ = self._minimize(
                    inputs_at, limits, self._predict(inputs_at, start), member.penalties, self.rules.radius
                )
                better = before - merit(other, limits, member.penalties)
                if better > promised + _ELSEWHERE * abs(promised):
                    found, promised = other, better
                    length = float(np.linalg.norm((other.u - member.best.u) @ self._metric))
        self.members[index] = replace(member, promised=promised)
        feasible = self._feasible(member)
        # The first members go on to the end, for others follow them.
        gain = self.rules.gain if len(self.members) > self.rules.waves[0] else 0.0
        if length < _FAR or (feasible and promised < gain):
            return None
        return _Candidate(index, found, length, promised)

    def _feasible(self, member: Member) -> bool:
        if member.best is None:
            return False
        violations = self.family.limits(member.index).violations(member.best.c)
        return float(violations.max(initial=0.0)) <= self.rules.feasible

    def _first(self, index: int, limits: Limits) -> _Candidate:
        """The best of the candidates about the designs of the nearest members."""
        near = self._nearby(index)
        starts = near or [self.family.start(index)]
        inputs_at = self._inputs_of(index)
        centers = [self._predict(inputs_at, start) for start in starts]
        penalties = initial_penalties(centers[0], self.family.conditions(index, centers[0]).multipliers)
        penalties = np.maximum(penalties, self.rules.penalty)
        radius = self.rules.radius if near else 0.5 * self.rules.radius
        region = TrustRegion(radius=self.rules.radius, largest=self.rules.largest)
        self.members[index] = Member(index, None, None, penalties, region)
        found = [self._minimize(inputs_at, limits, center, penalties, radius) for center in centers]
        best, length = min(found, key=lambda one: merit(one[0], limits, penalties))
        return _Candidate(index, best, length, np.inf)

    def _nearby(self, index: int) -> list[np.ndarray]:
        """Designs (k,) of the nearest other members."""
        known = [one for one in self.members.values() if one.best is not None and one.index != index]
        known.sort(key=lambda one: float(np.linalg.norm(self.place[one.index] - self.place[index])))
        return [one.best.u for one in known[: self.rules.neighbors] if one.best is not None]

    def _judge(self, one: _Candidate, true: Responses) -> None:
        member, limits = self.members[one.member], self.family.limits(one.member)
        member = replace(member, asked=member.asked + 1)
        conditions = self.family.conditions(one.member, true)
        if member.best is not None:
            gain = merit(member.best, limits, member.penalties) - merit(true, limits, member.penalties)
            region = member.region.after(gain / one.promised if one.promised > 0.0 else -1.0, one.length)
            member = replace(member, region=region)
            if gain <= 0.0:
                self.members[one.member] = member
                return
        penalties = np.maximum(next_penalties(member.penalties, conditions.multipliers), self.rules.penalty)
        self.members[one.member] = replace(member, best=true, kkt=conditions, penalties=penalties)

    @property
    def _metric(self) -> np.ndarray:
        """Turns differences of design variables into kernel lengths (k, d)."""
        assert self.surrogate is not None
        return self.surrogate.distances(self.rules.metric_output)[: len(self.family.limits(0).lower)]

    def optimum(
        self, limits: Limits, inputs_at: Callable[[np.ndarray], np.ndarray], starts: Sequence[np.ndarray], radius: float
    ) -> Responses:
        """Minimize on the surrogate alone, for a problem that need not be a member.

        Args:
            limits: Its bounds.
            inputs_at: Inputs of the truth (d,) at design variables (k,).
            starts: Designs (k,) about which to look, such as those of members nearby.
            radius: How far from them, kernel lengths.

        Returns:
            What the surrogate says of the best one.
        """
        penalties = np.full(len(limits.c_lower), 10.0 * self.rules.penalty)
        centers = [self._predict(inputs_at, start) for start in starts]
        found = [self._minimize(inputs_at, limits, center, penalties, radius)[0] for center in centers]
        return min(found, key=lambda one: merit(one, limits, penalties))

    def _inputs_of(self, index: int) -> Callable[[np.ndarray], np.ndarray]:
        return lambda u: self.family.inputs_at(index, u)

    def _predict(self, inputs_at: Callable[[np.ndarray], np.ndarray], u: np.ndarray) -> Responses:
        assert self.surrogate is not None
        answer = self.surrogate.evaluate(inputs_at(u)[None])
        return self.family.responses(u, answer.y[0], answer.dydx()[0])

    def _minimize(
        self,
        inputs_at: Callable[[np.ndarray], np.ndarray],
        limits: Limits,
        center: Responses,
        penalties: np.ndarray,
        radius: float,
    ) -> tuple[Responses, float]:
        """Minimize on the surrogate in a ball; returns the responses and the distance from the center."""
        p, metric = len(center.c), self._metric
        balled = replace(
            limits, c_lower=np.append(limits.c_lower, -np.inf), c_upper=np.append(limits.c_upper, radius**2)
        )

        def with_ball(found: Responses) -> Responses:
            away = (found.u - center.u) @ metric
            jacobian = np.vstack([found.jacobian, 2.0 * metric @ away])
            return replace(found, c=np.append(found.c, away @ away), jacobian=jacobian)

        found = solve_subproblem(
            lambda u: with_ball(self._predict(inputs_at, u)),
            balled,
            with_ball(center),
            (limits.lower, limits.upper),
            np.append(penalties, _BALL / radius**2),
        ).predicted
        return replace(found, c=found.c[:p], jacobian=found.jacobian[:p]), float(np.sqrt(found.c[-1]))
