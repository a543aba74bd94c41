"""Conditional generative models: networks and an objective, said as turns."""
