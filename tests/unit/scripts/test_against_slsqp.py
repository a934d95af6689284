"""The comparison with SLSQP: counts over the least of all scalings, apart for each figure."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cases.model import adaptive_case
from scripts.jenn.one_shot_problems import valley
from scripts.shared.against_slsqp import compare, ratios, scaled
from scripts.wing.evaluations_vs_slsqp import summarize


def row(evaluations: int, end: str, far: int | None, near: int | None) -> dict[str, Any]:
    return {"evaluations": evaluations, "end": end, "until_within": {"0.01": far, "0.001": near}}


def test_ratios_are_to_the_least_count_of_each_figure() -> None:
    rivals = [row(60, "converged", 20, 50), row(40, "did not converge", 30, 35), row(50, "converged", 40, None)]
    found = ratios(row(30, "certified", 10, 28), rivals)
    assert found == {"0.01": 0.5, "0.001": 0.8, "end": 0.5}, "only the first converged within the last excess"


def test_ratios_are_none_where_either_has_no_count() -> None:
    never = row(9, "converged", None, None)
    assert ratios(row(30, "certified", 10, 28), [never]) == {"0.01": None, "0.001": None, "end": None}
    assert ratios(row(30, "budget spent", None, 5), [row(60, "converged", 20, 50)])["end"] is None


def test_loop_and_slsqp_are_compared_from_one_start() -> None:
    case = adaptive_case(valley(2, 10), configuration=None, max_evaluations=40)
    found = compare(case, {"loop": case}, {"SLSQP": scaled(case, np.ones(2), 1.0)}, (0.01,))
    loop, slsqp = (found["methods"][name] for name in ("loop", "SLSQP"))
    assert found["best"] == min(loop["best"], slsqp["best"]) < 1e-4
    assert loop["ratio"]["0.01"] == pytest.approx(loop["until_within"]["0.01"] / slsqp["until_within"]["0.01"])
    assert loop["visits"][0][0] == slsqp["visits"][0][0] == 1 and loop["visits"][0][1] == slsqp["visits"][0][1]
    alone = compare(case, {"loop": case}, {"SLSQP": scaled(case, np.ones(2), 1.0)}, (0.01,), 5, best_of_rivals=True)
    assert alone["best"] == alone["methods"]["SLSQP"]["best"] > found["best"]


def test_summary_has_geometric_means_of_the_known_ratios_and_counts_certificates() -> None:
    def run(end: str, ratio: float | None, excess: float) -> dict[str, Any]:
        known = {"0.01": ratio, "0.001": None, "end": ratio}
        return {"methods": {"loop": {"end": end, "ratio": known, "excess": excess, "seconds": 2.0}}}

    starts = {"a": run("certified", 0.25, 0.0), "b": run("certified", 1.0, 1e-3), "c": run("budget", None, 1e-2)}
    found = summarize(starts, ["loop"])["loop"]
    assert (found["starts"], found["certified"], found["largest_excess"], found["seconds"]) == (3, 2, 1e-2, 6.0)
    assert found["0.01"] == found["end"] == {"mean": pytest.approx(0.5), "largest": 1.0, "runs": 2}
    assert found["0.001"] == {"mean": None, "largest": None, "runs": 0}
