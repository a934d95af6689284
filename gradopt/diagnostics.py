"""Cross-validation of a configuration, and the search for wrong partials in data."""

from gradopt.surrogates.diagnostics.cross_validation import CrossValidation as CrossValidation
from gradopt.surrogates.diagnostics.cross_validation import cross_validate as cross_validate
from gradopt.surrogates.diagnostics.outliers import Outlier as Outlier
from gradopt.surrogates.diagnostics.outliers import drop_outliers as drop_outliers
from gradopt.surrogates.diagnostics.outliers import find_outliers as find_outliers
