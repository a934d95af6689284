"""The comparison with peers: its script runs, resumes, chooses settings at seed 0 and gives up what is too slow."""

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradopt import Dataset
from scripts.shared.benchmark_problems import PROBLEMS
from scripts.shared.fits import fit_settings
from scripts.shared.peer_methods import PEERS, Method, Predictor, Setting
from scripts.shared.rows import RowFile
from scripts.surrogates.accuracy_vs_peers import METHODS, OURS, Plan, fit_all, method_of, rivals
from scripts.surrogates.peer_rows import key

Smoke = Callable[[str], Any]


def shifted(data: Dataset, seed: int, setting: Setting) -> Predictor:
    """The truth of the sine, off by the setting."""
    time.sleep(setting.get("sleep", 0.0))
    return lambda x: np.sin(x) + setting.get("off", 0.0), lambda x: np.cos(x)[:, None] + setting.get("off", 0.0)


def plan(*grid: Setting, seeds: tuple[int, ...] = (0, 1), time_limit: float = 30.0, redo: bool = False) -> Plan:
    return Plan(("sine",), (5,), seeds, {"m": Method(shifted, "scipy", grid=lambda d: grid)}, time_limit, redo)


def made(path: Path) -> list[tuple[int, Setting, str]]:
    return [(row["seed"], row["setting"], row["status"]) for row in map(json.loads, path.read_text().splitlines())]


def test_run_uses_the_best_setting_of_seed_0(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    fit_all(path, plan({"off": 0.2}, {"off": 0.1}, seeds=(3,)))
    assert made(path) == [(0, {"off": 0.2}, "ok"), (0, {"off": 0.1}, "ok"), (3, {"off": 0.1}, "ok")]
    row = list(RowFile(path, key).rows.values())[-1]
    assert row["n"] == 5 and row["package"] == "scipy" and row["version"] and row["time_limit"] == 30.0


def test_run_goes_on_where_it_was_stopped_and_makes_all_again_on_request(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    fit_all(path, plan({}, seeds=(0,)))
    fit_all(path, plan({}))
    assert [seed for seed, _, _ in made(path)] == [0, 1]
    fit_all(path, plan({}, redo=True))
    assert [seed for seed, _, _ in made(path)] == [0, 1, 0, 1] and len(RowFile(path, key).rows) == 2


def test_run_gives_up_what_was_killed_twice(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    fit_all(path, plan({"sleep": 60.0}, seeds=(0, 1, 2), time_limit=0.01))
    rows = list(RowFile(path, key).rows.values())
    assert [row["status"] for row in rows] == ["time"] * 3
    assert [row["reason"].split()[0] for row in rows] == ["killed", "killed", "not"]


def test_ours_with_partials_are_compared_with_all_peers_and_values_alone_with_kriging() -> None:
    assert rivals()["JENN"] == tuple(PEERS) and rivals()["MLP"] == ("KRG", "GP")
    assert set(METHODS) == {*OURS, *PEERS} and set(rivals()) == set(OURS)


@pytest.mark.parametrize("name", OURS)
def test_ours_use_partials_as_they_say(name: str) -> None:
    data = PROBLEMS["sine"].sample(5, 0)
    wrong = Dataset(data.x, data.y, -data.partials, data.inputs)
    method = method_of(OURS[name], fit_settings(True))
    first, second = (method.fit(of, 0, {})[0](data.x + 0.1) for of in (data, wrong))
    assert method.uses_partials == METHODS[name].uses_partials
    assert np.array_equal(first, second) != method.uses_partials


def test_script_writes_its_figures(smoke: Smoke) -> None:
    done = smoke("surrogates.accuracy_vs_peers")
    result = done.result
    assert set(result["errors"]["5"]) == {"sine"} == set(result["sources"])
    assert all(set(of) == set(METHODS) for of in result["errors"]["5"].values())
    of = result["comparison"]["JENN"]["5"]["nrmse_values"]
    assert math.isfinite(of["geometric_mean"]) and 0.0 < of["geometric_mean"] <= of["worst"] * (1.0 + 1e-12)
    assert result["errors"]["5"]["sine"]["GEKPLS"]["failed"] == {"time": 0, "failed": 1}
    assert "ratio" in done.printed and "KRG" in done.printed
