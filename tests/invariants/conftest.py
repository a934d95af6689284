"""Profile of the property tests: the same few examples in every run."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("gradopt", derandomize=True, max_examples=25, deadline=None, database=None)
settings.load_profile("gradopt")
