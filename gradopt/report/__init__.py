"""Result files, and measures of a run that has ended; nothing here evaluates a model. Floor 8."""

from gradopt.report.progress import Progress
from gradopt.report.records import provenance, write_result

__all__ = ["Progress", "provenance", "write_result"]
