"""Sellar's problem: two coupled disciplines, one of them or both expensive."""
