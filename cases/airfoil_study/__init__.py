"""Fifty airfoils for fifty conditions on one surrogate."""
