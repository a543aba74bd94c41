"""Simulators and sources worth learning from."""
