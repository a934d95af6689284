"""Which modules are installed packages, with their versions, and which are files of the user."""

from __future__ import annotations

import os
import site
import sys
import sysconfig
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

_PYTHON = f"python {sys.version_info.major}.{sys.version_info.minor}"
_GRADOPT = Path(__file__).parents[1]
_HERE = {"site-packages", "dist-packages"}


def package_of_file(path: str) -> str | None:
    """Return name and version of the installed package that a file belongs to, None for a file of the user."""
    if not os.path.isabs(path):
        return None
    for folder, kind in _folders():
        if path.startswith(folder):
            return _PYTHON if kind == "python" else _versioned(kind or _top(path[len(folder) :]))
    parts = Path(path).parts
    found = [number for number, part in enumerate(parts) if part in _HERE]
    return _versioned(_top(os.sep.join(parts[found[-1] + 1 :]))) if found else None


def package_of_module(name: str) -> str | None:
    """Return name and version of the installed package of a module, None for a module of the user.

    Raises:
        ModuleNotFoundError: If there is no such module.
    """
    top = name.partition(".")[0]
    if top in ("__main__", "__mp_main__"):
        return None
    module = sys.modules.get(name) or sys.modules.get(top)
    if module is not None:
        return package_of(module)
    spec = find_spec(top)
    if spec is None:
        raise ModuleNotFoundError(f"No module named {top!r}", name=top)
    return _package(top, spec.origin if spec.has_location else next(iter(spec.submodule_search_locations or ()), None))


def package_of(module: ModuleType) -> str | None:
    """Return name and version of the installed package of a module, None for a module of the user."""
    path = getattr(module, "__file__", None) or next(iter(getattr(module, "__path__", ())), None)
    return _package(module.__name__.partition(".")[0], path)


def _package(top: str, path: str | None) -> str | None:
    if path is not None:
        return package_of_file(os.path.abspath(path))
    return _PYTHON if top in sys.stdlib_module_names else None


def compiled_file(module: ModuleType) -> Path | None:
    """Return the file of a compiled module, None for other modules."""
    path = getattr(module, "__file__", None)
    return Path(path) if path is not None and path.endswith(tuple(EXTENSION_SUFFIXES)) else None


@cache
def _folders() -> tuple[tuple[str, str], ...]:
    """Folders of installed files, longest first, with a separator at their ends; what is in them, "" = packages."""
    paths = sysconfig.get_paths()
    packages = {paths["purelib"], paths["platlib"], *site.getsitepackages(), site.getusersitepackages()}
    found = [(folder, "") for folder in packages] + [(paths[name], "python") for name in ("stdlib", "platstdlib")]
    found.append((str(_GRADOPT), "gradopt"))  # from wherever it is imported
    found += [(os.path.realpath(folder), kind) for folder, kind in found]
    return tuple(sorted({(folder + os.sep, kind) for folder, kind in found}, key=lambda entry: -len(entry[0])))


def _top(path: str) -> str:
    """Name of the top-level module of a path below a folder of packages."""
    return path.partition(os.sep)[0].partition(".")[0]


@cache
def _versioned(top: str) -> str:
    found = getattr(sys.modules.get(top), "__version__", None)
    if not isinstance(found, str):
        try:
            found = version(top)
        except PackageNotFoundError:
            names = packages_distributions().get(top, [])
            found = version(names[0]) if names else "of unknown version"
    return f"{top} {found}"
