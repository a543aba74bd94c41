"""The study in its storage: SQLite beside the report, or a database that several machines share.

A study belongs to one recipe, one file of reference events and one space, which are written into it; what was found for
others says nothing here.
"""

from __future__ import annotations

import hashlib
import json
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning

from understudy.paths import changed
from understudy.recipe import Recipe
from understudy.search.plan import Plan
from understudy.search.space import Space

FORMAT = 1
FREE = ("title", "source", "budget", "trials", "sampler", "pruner", "warm_up", "seed", "common", "name")
"""What a space may say differently when a study goes on; `common` is in the recipe."""


@contextmanager
def quiet() -> Iterator[None]:
    """Without what Optuna itself has to say."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)


def sqlite(folder: Path) -> str:
    """The storage of a search that names no other: a file in its directory."""
    return f"sqlite:///{(folder / 'study.db').resolve()}"


def open_study(name: str, storage: str, plan: Plan, digest: str | None, *, resume: bool) -> optuna.Study:
    """A new study, or with `resume` the one of that name, if there is one.

    Args:
        name: of the study.
        storage: an URL.
        plan: space and recipe.
        digest: sha256 of the file of reference events; None where a simulator makes them.
        resume: go on with a study.

    Raises:
        FileExistsError: there is one and `resume` is not given.
        ValueError: no such storage, or the study is one of another recipe, other events or another space.
    """
    place = without_password(storage)
    try:
        names = optuna.get_all_study_names(storage)
        if name in names and not resume:
            raise FileExistsError(
                f"there is a study {name!r} in {place} already; go on with it or join it with --resume, or choose another --study"
            )
        study = optuna.create_study(study_name=name, storage=storage, direction="minimize", load_if_exists=True)
    except FileExistsError:
        raise
    except ImportError as error:
        raise ValueError(f"the storage {place} needs a library that is not installed ({error}); install it") from None
    except Exception as error:
        reason = " ".join(str(error).split("\n")[0].split())
        raise ValueError(f"cannot use the storage {place} ({reason}); give the URL of a database, sqlite:///FILE say") from None
    _bind(study, plan, digest, place)
    return study


def _bind(study: optuna.Study, plan: Plan, digest: str | None, place: str) -> None:
    """Write down in a new study what it is a study of; see that an old one is one of the same."""
    mine = {
        "format": FORMAT,
        "recipe": plan.base.name,
        "fingerprint": fingerprint(plan.base),
        "data": digest,
        "space": json.dumps(space_words(plan.space)),
        "words": json.dumps(words(plan.base), sort_keys=True),
    }
    theirs = study.user_attrs
    if not theirs and not study.get_trials(deepcopy=False):
        for key, value in mine.items():
            study.set_user_attr(key, value)
        return
    where = f"the study {study.study_name!r} in {place}"
    hint = "give another --study or --out"
    if theirs.get("format") != FORMAT:
        raise ValueError(f"{where} was not made by this version's search; {hint}")
    if theirs["fingerprint"] != mine["fingerprint"]:
        keys = _different(json.loads(theirs["words"]), words(plan.base))
        raise ValueError(
            f"{where} was made for another recipe: it has {theirs['recipe']}, and {plan.base.name} differs from that in"
            f" {', '.join(keys)}; {hint}"
        )
    if theirs["data"] != digest:
        raise ValueError(f"{where} was made with other reference events (another sha256); bring those back, or {hint}")
    if theirs["space"] != mine["space"]:
        keys = _different(json.loads(theirs["space"])["parameters"], space_words(plan.space)["parameters"])
        raise ValueError(f"{where} was made for another search space, which differs in {', '.join(keys)}; {hint}")


def words(recipe: Recipe) -> dict[str, Any]:
    """A recipe without where the file of its events lies, which may differ between machines, and without the alternatives."""
    plain = changed(recipe.to_dict(), {"alternatives": {}})
    return changed(plain, {"reference.path": ""}) if recipe.reference.kind == "file" else plain


def fingerprint(recipe: Recipe) -> str:
    """A hash of `words`."""
    return hashlib.sha256(json.dumps(words(recipe), sort_keys=True).encode()).hexdigest()


def space_words(space: Space) -> dict[str, Any]:
    """What makes a space another one."""
    return {"parameters": space.model_dump(mode="json", exclude=set(FREE))["parameters"]}


def _different(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    return sorted(key for key in {*a, *b} if a.get(key) != b.get(key)) or ["the order of its keys"]


def without_password(url: str) -> str:
    """An URL that can be shown."""
    return re.sub(r"(://[^:/@]*):[^@/]*@", r"\1:***@", url)
