"""Conditions in words."""

import numpy as np
import pytest

from understudy.asked import at, said
from understudy.domain import Domain
from understudy.schema import Block, Schema

SCHEMA = Schema((Block("label", kind="categorical"), Block("place", shape=(2,))), (Block("y"),))
DOMAIN = Domain({"label": (0.0,), "place": (0.0, 0.0)}, {"label": (2.0,), "place": (1.0, 1.0)}, {"label": "", "place": ""})


def test_values_for_all_events_and_classes_in_turn():
    events = at(said(["place=0.5,1"], SCHEMA), 5, SCHEMA, DOMAIN)
    assert events["place"].tolist() == [[0.5, 1]] * 5
    assert events["label"].tolist() == [0, 1, 2, 0, 1]
    assert at(said(["place=0,1", "label=2"], SCHEMA), 3, SCHEMA, DOMAIN)["label"].tolist() == [2, 2, 2]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["size=3"], "'size=3' is no condition to sample at: say NAME=VALUE with one of label, place"),
        (["label"], "is no condition to sample at"),
        (["label=x"], "'x' is no number"),
        (["place=1"], "gives 1 numbers where 'place' has 2 components"),
        (["label=1", "label=2"], "the condition 'label' is given twice"),
    ],
)
def test_words_that_say_nothing(words, message):
    with pytest.raises(ValueError, match=message):
        said(words, SCHEMA)


def test_a_number_that_was_not_said():
    with pytest.raises(ValueError, match="say 'place' as well, as place=VALUE"):
        at({"label": np.array(1)}, 3, SCHEMA, DOMAIN)
