"""Fitted surrogates and their files."""
