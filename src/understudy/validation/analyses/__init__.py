"""Analyses of one kind of detector: what a report shows besides the comparisons that any two samples have."""
