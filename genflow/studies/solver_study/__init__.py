"""Integrators held against each other on one trained model: work against precision."""
