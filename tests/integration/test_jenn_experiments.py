"""The experiments of the JENN paper: figures of the script, which keeps the parts that are not run again."""

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Smoke = Callable[[str], Any]
Script = Callable[..., Any]

PARTS = {
    "sine": {"3", "4"},
    "rastrigin": {"50", "100"},
    "noise": {"rosenbrock_2"},
    "adflow": {"test", "selection", "methods", "targets"},
    "polishing": {"problems", "overall", "fresh", "default"},
    "optimizations": {"rosenbrock_disk"},
}


def numbers(of: Any) -> Iterator[float | None]:
    """All numbers of a result, and what is null."""
    if isinstance(of, dict):
        for entry in of.values():
            yield from numbers(entry)
    elif isinstance(of, list):
        for entry in of:
            yield from numbers(entry)
    elif not isinstance(of, str):
        yield of


def test_script_writes_its_figures(smoke: Smoke) -> None:
    done = smoke("jenn.experiments")
    parts = done.result["parts"]
    assert {name: set(of) - {"made"} for name, of in parts.items()} == PARTS
    may_be_none = ("adflow", "noise")  # a target, or the break-even, that is not reached
    for name, of in parts.items():
        found = list(numbers({key: entry for key, entry in of.items() if key != "made"}))
        assert found and all(math.isfinite(number) for number in found if number is not None), name
        assert name in may_be_none or None not in found, name
        assert of["made"]["seconds"] > 0.0 and of["made"]["versions"]["torch"]
    curve = parts["noise"]["rosenbrock_2"]["weights"]
    assert set(curve["fixed"]["JENN"]) == set(curve["learned"]["JENN"]) == {"0.0", "0.08", "0.5"}
    assert set(parts["adflow"]["methods"]["JENN"]) == {"100", "200", "500"}
    assert len(parts["polishing"]["problems"]["rosenbrock_2"]["settings"]) == 3, "a grid of 2, and the paper's"
    methods = parts["optimizations"]["rosenbrock_disk"]["methods"]
    assert set(methods) == {"JENN", "JENN, polished", "MLP", "MLP, twice the samples"}
    assert "One-shot optimizations" in done.printed and "Polishing" in done.printed


def test_a_part_that_is_run_again_leaves_the_others(script: Script, tmp_path: Path) -> None:
    old = {"quick": True, "parts": {"noise": {"kept": 1.0}, "sine": {"replaced": 1.0}}}
    (tmp_path / "found.json").write_text(json.dumps(old))
    parts = script("jenn.experiments", "--quick", "--parts", "sine").result["parts"]
    assert parts["noise"] == {"kept": 1.0}
    assert set(parts["sine"]) == {"3", "4", "made"}
