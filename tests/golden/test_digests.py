"""The loop takes the steps that it took when the golden file was written.

After a change that is meant to change them: `python -m scripts.loop.digests --golden tests/golden/digests.json`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scripts.loop.digest_runs import GOLDEN, RUNS

ROWS: dict[str, dict[str, Any]] = json.loads((Path(__file__).parent / "digests.json").read_text())["runs"]
DIGITS, NOTHING = 1e-5, 1e-6  # of the objectives, which begin at 10 to 1000


def test_every_run_has_a_row() -> None:
    assert tuple(ROWS) == GOLDEN


@pytest.mark.parametrize("name", GOLDEN)
def test_run_is_as_it_was(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    record, row = RUNS[name](), ROWS[name]
    assert record.exit == row["exit"]
    assert abs(record.evaluations - row["evaluations"]) <= 2 * row["evaluations_vary"]
    wanted = np.array(row["objectives"], dtype=np.float64)  # null becomes NaN: the truth model failed
    found = np.array([objective for _, objective, _, _ in record.history[: len(wanted)]])
    np.testing.assert_allclose(found, wanted, rtol=DIGITS)
    close = max(2.0 * row["objective_varies"], DIGITS * abs(row["objective"]), NOTHING)
    assert record.objective == pytest.approx(row["objective"], rel=0.0, abs=close)
