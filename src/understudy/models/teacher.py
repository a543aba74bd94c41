r"""A trained stage of a needed run, from which a stage of this one learns.

Teacher and student share one learned space: the student's encoder and transforms take over the teacher's fitted constants, so
that noise and features mean the same to both. This has a meaning only where both stages are said in the same words and
were fitted to the same training events; the words are compared here, the events where a run begins (`needs.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn

from understudy.schema import Block, Schema
from understudy.surrogate import RESPONSE, Stage, Surrogate


class Teacher(nn.Module):
    """A stage of a needed run, borrowed: it follows from device to device, and is neither trained nor saved here.

    Args:
        needs: trained stand-ins by name.
        name: which of them.
        produces: what the stages of teacher and student produce.
        schema: of the student's events; None where it is not known.
        words: how the recipe says the student's stage, by key, of what both must share; empty where it is not known.

    Raises:
        ValueError: no such need, it produces something else, or its stage is said in other words.
    """

    def __init__(
        self,
        needs: Mapping[str, Any] | None,
        name: str,
        produces: str = RESPONSE,
        schema: Schema | None = None,
        words: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if not needs or name not in needs:
            known = ", ".join(needs or ()) or "nothing"
            raise ValueError(f"the teacher {name!r} is not among what the recipe needs ({known}); add it to 'needs'")
        surrogate: Surrogate = needs[name]
        stage = _stage(surrogate, name, produces)
        if schema is not None and produces == RESPONSE and _said(schema.response) != _said(surrogate.schema.response):
            mine, theirs = (", ".join(b.name for b in s.response) for s in (schema, surrogate.schema))
            raise ValueError(
                f"the teacher {name!r} produces {theirs} of {surrogate.schema.response_width} numbers, where this recipe has"
                f" {mine} of {schema.response_width}; name a run of the same response"
            )
        _check_words(name, produces, stage.words, words or {})
        self._held = (stage.requires_grad_(False).eval(),)  # inside a tuple it is no submodule

    @property
    def stage(self) -> Stage:
        """The teacher's stage."""
        return self._held[0]

    def sample(self, noise: Tensor, features: Tensor) -> Tensor:
        """What the teacher gives in the learned space, `(n, d)`, without gradients and in full precision."""
        with torch.no_grad(), torch.autocast(features.device.type, enabled=False):
            return self.stage.model.sample(noise, features).float()

    def hand_over(self, encoder: nn.Module, transforms: nn.Module) -> None:
        """Fill a student's encoder and transforms with the constants that the teacher's were fitted with."""
        encoder.load_state_dict(self.stage.encoder.state_dict())
        transforms.load_state_dict(self.stage.transforms.state_dict())

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        applied: Any = super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.stage.model._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return applied  # type: ignore[no-any-return]


def _stage(surrogate: Surrogate, name: str, produces: str) -> Stage:
    found = {str(stage.produces): stage for stage in surrogate.stages}
    if produces not in found:
        raise ValueError(
            f"the teacher {name!r} has no stage that produces {produces!r}; it produces {', '.join(found)}: leave this stage to"
            " another model"
        )
    return found[produces]  # type: ignore[return-value]


def _said(blocks: tuple[Block, ...]) -> list[tuple[str, tuple[int, ...], str]]:
    return [(b.name, b.shape, b.unit) for b in blocks]


def _check_words(name: str, produces: str, theirs: Mapping[str, Any], mine: Mapping[str, Any]) -> None:
    for key in mine if theirs else ():
        if mine[key] != theirs.get(key):
            raise ValueError(
                f"the stage of {produces!r} cannot learn from {name!r}, which has other {key} ({_short(theirs.get(key))} there,"
                f" {_short(mine[key])} here): teacher and student share one learned space; say the same in both"
            )


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 120 else f"{text[:120]}..."
