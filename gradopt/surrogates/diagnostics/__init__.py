"""Cross-validation and outliers."""
