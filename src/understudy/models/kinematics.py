r"""The true energy $E = p_T \cosh\eta$ as a first stage, so that a user may give what a collider file holds.

It learns nothing and draws nothing; it stands in the chain, and in the exported graph, so that later stages may be conditioned on
the energy and scale with it.
"""

from __future__ import annotations

from torch import Tensor

from understudy.kinematics import TRUE_ETA, TRUE_PT
from understudy.models.base import Model, Turn
from understudy.registry import Given, register


@register("models", "true-energy")
class TrueEnergy(Model):
    """`true_pt * cosh(true_eta)` of the features `{true_pt: raw, true_eta: raw}`.

    Args:
        feature_size: must be 2.
        response_size: must be 1.
        feature_names: what the features are, in order.

    Raises:
        ValueError: other features, or a response that is not one number.
    """

    noise_size = 0

    def __init__(
        self,
        *,
        feature_size: Given[int],
        response_size: Given[int],
        feature_names: Given[tuple[str, ...]] = (TRUE_PT, TRUE_ETA),
    ) -> None:
        super().__init__()
        if {*feature_names} != {TRUE_PT, TRUE_ETA} or feature_size != 2:
            found = ", ".join(feature_names)
            raise ValueError(f"the model 'true-energy' needs the features {{{TRUE_PT}: raw, {TRUE_ETA}: raw}}, found {found}")
        if response_size != 1:
            raise ValueError(f"the model 'true-energy' gives one number per event, but {response_size} are asked for")
        self.columns = feature_names.index(TRUE_PT), feature_names.index(TRUE_ETA)

    def turns(self) -> tuple[Turn, ...]:
        """None: nothing is trained."""
        return ()

    def sample(self, noise: Tensor, conditions: Tensor) -> Tensor:
        """The energy `(n, 1)`, computed in double precision; `noise` is `(n, 0)`."""
        pt, eta = (conditions[:, i : i + 1].double() for i in self.columns)
        # ONNX Runtime has an exponential of double precision, but no hyperbolic cosine
        return (0.5 * pt * (eta.exp() + (-eta).exp())).to(conditions.dtype)
