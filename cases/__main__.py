"""Run a case: `python -m cases list`, `python -m cases run NAME`, from the root of a clone or of an unpacked sdist."""

import sys

from gradopt.errors import MissingExtraError, import_extra


def start() -> int:
    """Run the command line, or name the extra that is missing; return the exit code."""
    try:
        import_extra("rich", "cases")
    except MissingExtraError as missing:
        print(f"error: {missing}", file=sys.stderr)
        return 1
    from cases.cli import main

    return main()


if __name__ == "__main__":
    sys.exit(start())
