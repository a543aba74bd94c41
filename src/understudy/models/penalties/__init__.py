"""Penalties that keep a critic smooth."""
