"""Every example of README and the docs runs as it stands and does what its page says."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
BLOCKS = {
    (page.name, number): block
    for page in PAGES
    for number, block in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL))
}
Names = dict[str, Any]


def rosenbrock_is_minimized(names: Names, printed: str) -> None:
    assert names["result"].success
    np.testing.assert_allclose(names["result"].x, 1.0, atol=1e-3)
    assert names["result"].nfev <= 20


def another_program_evaluates(names: Names, printed: str) -> None:
    assert printed.startswith("certified")
    np.testing.assert_allclose(names["optimizer"].x, 1 / 3, atol=1e-3)
    assert Path("run.state").exists()


def the_loop_is_certified(names: Names, printed: str) -> None:
    np.testing.assert_allclose(names["prob"].get_val("x"), [0.786, 0.618], atol=1e-3)
    assert names["prob"].driver.history[-1].evaluations <= 40
    assert printed.startswith("certified")


def slsqp_finds_the_optimum_on_the_surrogate(names: Names, printed: str) -> None:
    np.testing.assert_allclose(names["prob"].get_val("x"), [1.0, 1.0], atol=0.1)
    assert Path("valley.gradopt").exists()


def a_prior_lowers_the_error(names: Names, printed: str) -> None:
    x = np.random.default_rng(1).random((1000, 2))
    y = np.exp(x[:, :1]) + x[:, 1:] ** 2
    errors = [np.sqrt(np.mean((names[name].predict(x) - y) ** 2)) for name in ("plain", "surrogate")]
    assert names["surrogate"].fit_result.prior.kept
    assert 2.0 < errors[0] / errors[1] < 4.0


def an_executable_is_optimized(names: Names, printed: str) -> None:
    assert printed.startswith("certified")
    height = (1e-6 / (0.02 * 0.01)) ** (1 / 3)  # at which the deflection is at its bound
    np.testing.assert_allclose(names["prob"].get_val("section"), [0.02, height], rtol=1e-3)
    assert names["prob"].driver.evaluations < 60


def a_stored_point_is_verified(names: Names, printed: str) -> None:
    first, second = printed.splitlines()
    ((identity, rows),) = eval(second)
    assert first == "2 1" and identity.startswith("example.drag ") and rows == 3


def a_model_is_optimized_and_certified(names: Names, printed: str) -> None:
    np.testing.assert_allclose([names["result"].x[name][0] for name in "xy"], [20 / 3, -22 / 3], atol=1e-3)
    assert printed.startswith("certified")
    assert names["certificate"].certified


def minimize_follows_scipy(names: Names, printed: str) -> None:
    np.testing.assert_allclose(names["result"].x, [0.786, 0.618], atol=1e-3)
    assert names["result"].success


def a_run_is_saved_and_continued_between_all_evaluations(names: Names, printed: str) -> None:
    width, height = names["optimizer"].x
    assert names["optimizer"].exit.value == "certified"
    np.testing.assert_allclose([height, width * height**2], [2.0 * width, 0.5], rtol=1e-3)


def another_program_calls_the_loop(names: Names, printed: str) -> None:
    assert printed.startswith("certified")
    np.testing.assert_allclose(names["generator"].optimizer.x, [0.1, np.sqrt(2.5)], rtol=1e-3)


def the_parts_of_the_loop_make_a_run(names: Names, printed: str) -> None:
    u = names["state"].iterate.u
    assert printed.startswith("certified")
    np.testing.assert_allclose(4.0 * (u - 0.3) ** 3 + 2.0 * u, 0.0, atol=1e-3)


def truths_are_evaluated_once(names: Names, printed: str) -> None:
    assert printed.splitlines()[:2] == ["9", "3 no mesh above 0.9"]
    np.testing.assert_allclose(names["plan"].partials(), [[3.0, 0.0]], atol=1e-4)
    np.testing.assert_array_equal(names["again"].y, names["found"].y)
    np.testing.assert_allclose(names["partials"], names["totals"], atol=1e-5)
    assert names["noise"] < 1e-14


def surrogates_predict_held_out_samples(names: Names, printed: str) -> None:
    predicted, held_out = names["surrogate"].predict(names["held_out"].x), names["held_out"].y
    assert np.sqrt(np.mean((predicted - held_out) ** 2)) < 0.05 * held_out.std()
    assert names["result"].r2 > 0.99
    assert names["clean"].n == names["data"].n
    assert {path.name for path in Path().glob("*.png")} == {"parity.png", "cross_validation.png", "steps.png"}


def every_prior_can_be_fitted(names: Names, printed: str) -> None:
    assert [line.split()[0] for line in printed.splitlines()] == [type(prior).__name__ for prior in names["guesses"]]
    np.testing.assert_allclose(names["surrogate"].predict(names["points"]), np.exp(names["points"]), atol=0.2)


def the_loop_is_plotted(names: Names, printed: str) -> None:
    assert printed == "certified certified\n"
    assert {path.stem for path in Path().glob("*.png")} == {"convergence", "trust_region", "prediction", "both"}


def the_loop_is_compared_with_slsqp(names: Names, printed: str) -> None:
    ours, theirs = (int(word) for word in printed.split()[:2])
    assert 1 < ours < theirs
    assert json.loads(Path("result.json").read_text())["loop"] == ours


def errors_say_what_to_do(names: Names, printed: str) -> None:
    lines = printed.splitlines()
    assert lines[0].endswith("got (4, 2, 1). If it is (n, d, m), pass `dydx.swapaxes(1, 2)`.")
    assert lines[1:4] == ["InputError ValueError", "FileFormatError ValueError", "MissingExtraError ImportError"]
    assert lines[4:7] == ["StoreError RuntimeError", "StaleStoreError RuntimeError", "WorkersError RuntimeError"]
    assert "broken.gradopt" in lines[7]


def progress_is_shown(names: Names, printed: str) -> None:
    assert printed.startswith("\r0 of 40 evaluations done (0 failed)") and printed.endswith("\n 40 0\n")


def points_are_evaluated_by_workers(names: Names, printed: str) -> None:
    assert printed.startswith("20 ")
    np.testing.assert_allclose(names["found"].y[:, 0], (names["points"] ** 2).sum(axis=1))
    np.testing.assert_allclose(names["result"].x, 0.0, atol=1e-3)


def the_cluster_is_not_started(names: Names, printed: str) -> None:
    """Its package may be missing: the example defines a function; `test_engines.py` runs the same where it can."""
    assert callable(names.get("evaluate") or names["run"]) and not printed


CHECKS: dict[tuple[str, int], Callable[[Names, str], None]] = {
    ("README.md", 0): rosenbrock_is_minimized,
    ("README.md", 1): the_loop_is_certified,
    ("README.md", 2): another_program_evaluates,
    ("README.md", 3): slsqp_finds_the_optimum_on_the_surrogate,
    ("examples.md", 0): a_model_is_optimized_and_certified,
    ("examples.md", 1): minimize_follows_scipy,
    ("examples.md", 2): a_run_is_saved_and_continued_between_all_evaluations,
    ("examples.md", 3): another_program_calls_the_loop,
    ("examples.md", 4): truths_are_evaluated_once,
    ("examples.md", 5): surrogates_predict_held_out_samples,
    ("examples.md", 6): every_prior_can_be_fitted,
    ("examples.md", 7): the_loop_is_plotted,
    ("examples.md", 8): the_parts_of_the_loop_make_a_run,
    ("examples.md", 9): the_loop_is_compared_with_slsqp,
    ("examples.md", 10): errors_say_what_to_do,
    ("gradinn.md", 0): a_prior_lowers_the_error,
    ("many_evaluations.md", 0): progress_is_shown,
    ("truths.md", 0): an_executable_is_optimized,
    ("truths.md", 1): a_stored_point_is_verified,
    ("workers.md", 0): points_are_evaluated_by_workers,
    ("workers.md", 1): the_cluster_is_not_started,
    ("workers.md", 2): the_cluster_is_not_started,
    ("workers.md", 3): the_cluster_is_not_started,
    ("workers.md", 4): the_cluster_is_not_started,
}


def test_every_example_has_a_check() -> None:
    assert list(CHECKS) == list(BLOCKS)


@pytest.mark.parametrize(("page", "number"), BLOCKS, ids=lambda part: str(part).removesuffix(".md"))
def test_an_example_does_what_its_page_says(
    page: str, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names: Names = {"__name__": "example"}
    exec(compile(BLOCKS[page, number], page, "exec"), names)
    CHECKS[page, number](names, capsys.readouterr().out)
