"""Understudy: learned stand-ins for particle-detector simulation."""
