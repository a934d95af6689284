"""The aerostructural wing."""
