"""Airfoils: the loop on NeuralFoil and on XFOIL, and drag by RANS."""
