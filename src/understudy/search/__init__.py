"""Searches of hyper-parameters: many trials of one recipe, drawn from a space, judged by the physics score on validation events.

Adversarial models are less a matter of their loss than of their many parameters (M. Lucic et al., "Are GANs created equal?",
2018, as quoted by the thesis on the LHCb hadronic calorimeter), which samples a space of 10^8 combinations at random. So
does a search, or it lets a tree-structured Parzen estimator learn from the trials so far where good ones are (J. Bergstra
et al., "Algorithms for hyper-parameter optimization", 2011). The draws, the pruning and the storage are Optuna's.
"""
