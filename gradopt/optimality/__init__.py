"""Optimality conditions and merit on flat arrays. Floor 5."""
