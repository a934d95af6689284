"""What is installed, what is distributed, and which versions are claimed."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())


def pins(file: str) -> dict[str, str]:
    lines = [line for line in (ROOT / file).read_text().splitlines() if not line.startswith("#")]
    return {name.lower(): version for name, version in (line.split("==") for line in lines)}


def test_the_wheel_holds_gradopt_alone() -> None:
    assert PROJECT["tool"]["setuptools"]["packages"]["find"]["include"] == ["gradopt*"]


def test_the_source_distribution_holds_what_both_commands_of_the_readme_need() -> None:
    lines = (ROOT / "MANIFEST.in").read_text()
    for name in ("cases", "docs", "scripts", "tests", "constraints.txt", "constraints-oldest.txt", ".ci/run"):
        assert re.search(rf"^(graft|include) .*{re.escape(name)}\b", lines, re.MULTILINE), name
        assert (ROOT / name).exists(), name


def test_lower_bounds_are_the_oldest_versions_that_ci_tries() -> None:
    oldest = pins("constraints-oldest.txt")
    for requirement in PROJECT["project"]["dependencies"]:
        name, bound = re.fullmatch(r"([\w-]+)>=([\d.]+)(?:,.*)?", requirement).groups()  # type: ignore[union-attr]
        assert re.fullmatch(rf"{re.escape(bound)}(\.0)*", oldest[name.lower()]), requirement


def test_every_oldest_version_is_pinned_and_not_newer_than_the_tested_one() -> None:
    oldest, tested = pins("constraints-oldest.txt"), pins("constraints.txt")
    for name in ("matplotlib", "numpy", "openmdao", "safetensors", "scipy", "torch"):
        assert [int(part) for part in oldest[name].split(".")] <= [int(part) for part in tested[name].split(".")]


def test_extras_of_cases_bring_what_all_cases_need() -> None:
    extras = PROJECT["project"]["optional-dependencies"]
    assert [name.split(">")[0] for name in extras["cases"]] == ["rich"]
    for name in ("airfoil", "rans", "wing"):
        assert "gradopt[cases]" in extras[name]
    assert "rich" not in [re.split("[><=]", name)[0] for name in PROJECT["project"]["dependencies"]]
