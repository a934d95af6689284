"""Accuracy and cost of surrogates, alone and against peers."""
