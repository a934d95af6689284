"""Airfoil drag minimization on NeuralFoil."""
