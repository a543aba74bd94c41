"""The training loop, checkpoints and the choice among them."""
