"""Views: what a critic sees of a response."""
