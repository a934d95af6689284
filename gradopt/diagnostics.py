"""Cross-validation of a configuration, and the search for wrong partials in data."""

from gradopt.surrogates.diagnostics.cross_validation import CrossValidation, cross_validate
from gradopt.surrogates.diagnostics.outliers import Outlier, drop_outliers, find_outliers

__all__ = [
    "CrossValidation",
    "Outlier",
    "cross_validate",
    "drop_outliers",
    "find_outliers",
]
