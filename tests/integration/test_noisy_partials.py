"""The study of noisy, wrong and missing partials runs; its default fits keep their promise on one problem."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradopt import JENN, MLP
from scripts.benchmark_problems import PROBLEMS
from scripts.noisy_partials import KINDS, error, noisy, spoiled

Results = Callable[..., tuple[dict[str, Any], str]]


@pytest.mark.parametrize("kind", KINDS)
def test_spoiling_changes_just_what_it_says(kind: str) -> None:
    data = PROBLEMS["friedman_1"].sample(20, 0)
    bad, entries = spoiled(data, kind, 1)
    changed = {(int(i), int(k), int(j)) for i, k, j in np.argwhere(bad.partials != data.partials)}
    assert changed == entries and len(entries) == (5 if kind == "row" else 1)


def test_noise_has_the_level_asked_for() -> None:
    data = PROBLEMS["borehole"].sample(1000, 0)
    noise = (noisy(data, 0.2, 0).partials - data.partials).std(axis=0)
    assert noise == pytest.approx(0.2 * np.sqrt((data.partials**2).mean(axis=0)), rel=0.1)


def test_noisy_partials_help_and_do_not_hurt() -> None:
    problem = PROBLEMS["borehole"]
    data, test = problem.sample(30, 0), problem.sample(500, 1)
    plain = error(MLP(starts=4).fit(data), test)
    assert error(JENN(starts=8).fit(noisy(data, 0.1, 0)), test) < 0.7 * plain


def test_script_writes_its_tables_and_figure(results_of: Results, tmp_path: Path) -> None:
    result, printed = results_of("noisy_partials", "--quick")
    assert set(result["noise"]["branin"]["levels"]) == {"0.0", "0.5"}
    assert 0.0 <= result["wrong"]["branin"]["kinds"]["sign"]["named"] <= 1.0
    assert set(result["missing"]["branin"]["known"]) == {"random_half", "every_second", "first_alone", "last_alone"}
    assert {path.name for path in tmp_path.iterdir()} == {"result.json", "noise.png"}
    assert "One wrong partial" in printed
