"""Auxiliary losses of a generator."""
