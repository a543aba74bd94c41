"""Invertible, fitted maps between a response in physical units and what a model learns; exported with the model."""
