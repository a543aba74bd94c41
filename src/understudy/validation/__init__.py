"""How well one set of events agrees with another; knows no models."""
