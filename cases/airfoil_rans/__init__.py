"""Drag of airfoils by RANS, learned from 42,039 samples, validated, and minimized where the data are."""
