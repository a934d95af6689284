"""Versions of the packages that determine a result, for files and records."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

_PACKAGES = ("gradopt", "numpy", "openmdao", "scipy", "torch")


def versions() -> dict[str, str]:
    """Return the versions of Python, gradopt and its main dependencies, "not installed" where one is missing."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found
