"""Surrogates corrected to the truth model about one point. Floor 5."""
