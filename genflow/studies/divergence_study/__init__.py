"""Divergence estimators held against each other on one trained model: bias, variance, cost."""
