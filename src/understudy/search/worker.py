"""One trial of a search in a process of its own: train the response's model, sample at the validation conditions, score.

Test events are never looked at: the report of a run of the best recipe, and a scan of the best ones, compare with those.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

from understudy import seeds
from understudy.files import write_json
from understudy.recipe import Recipe
from understudy.scan.worker import RESULT, serve, train, training_facts
from understudy.splits import Data
from understudy.threads import threads
from understudy.validation.score import PhysicsScore


def work(folder: Path, recipe: Recipe, base: Recipe, data: Data, key: str) -> None:
    """Train and score one trial; an interrupted one goes on from its checkpoint."""
    with threads(1):
        surrogate, result = train(recipe, data, folder)
        events = data.validation
        made = surrogate.simulate(events.conditions, seeds.generator(base.seed, "search", "samples"))
        found = PhysicsScore(events, data.response_geometry).score(events.with_response(made.packed()))
    score = {name: value if math.isfinite(value) else None for name, value in found.items()}
    write_json(folder / RESULT, {"format": 1, "key": key, "score": score, "training": training_facts(surrogate, result)})


if __name__ == "__main__":
    sys.exit(serve(work))
