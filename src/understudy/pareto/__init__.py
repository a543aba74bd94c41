"""Many runs in one picture: fidelity against speed and against the cost of the training.

A run is on the Pareto front if no other run is at least as close to the reference and at least as fast, and better in one
of the two. Runs are compared only with runs that were judged on the same reference events, by the same judges.
"""
