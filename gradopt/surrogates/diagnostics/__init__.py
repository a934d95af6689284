"""Diagnostics: cross-validation of configurations, and wrong partials in data."""
