"""What generator and critic play for: each objective is a pair of losses of the critic's scores."""
