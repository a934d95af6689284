"""The fitted surrogate and its files."""
