"""Parameter studies: variants of one recipe, several seeds each, judged on the same held-out events.

A single training of an adversarial model says little about its parameters, because it varies with its seed (P. Klein, "WGANs
for simulation of e.m. showers in ATLAS calorimeter", sec. VI and fig. 22). So every variant is trained with several seeds;
the union of their samples is compared with the reference, and the spread between the seeds is the error.
"""
