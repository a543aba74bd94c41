"""A process that holds one Geant4 run manager: `python -m understudy.references.geant4_worker`.

Geant4 allows one run manager per process, so showers on several cores are made by several of these. The package stays
empty on import: what imports Geant4 is imported only inside the worker.
"""
