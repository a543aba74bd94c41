"""Formulae of ROOT's syntax, parsed and evaluated here."""

import math

import numpy as np
import pytest

from understudy.references.formula import DEEPEST, Formula


def value(text, **variables):
    return float(Formula.parse(text)(**({"pt": 2.0, "eta": -0.5} | variables))[0])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1 + 2 * 3 - 4 / 8", 6.5),
        ("-2^2", -4.0),
        ("2^-1", 0.5),
        ("2^3^2", 512.0),
        ("pt^2*1.3e-3^2", 4 * 1.3e-3**2),
        ("sqrt(0.03^2 + pt^2*1.3e-3^2)", math.hypot(0.03, 2.6e-3)),
        ("8.62283e-05 ^2 * pt^2", 8.62283e-05**2 * 4),
        ("(abs(eta) <= 0.5) * (pt > 0.1 && pt <= 2.0) * 3.0", 3.0),
        ("(pt > 3 || eta < 0) + (pt == 2) + (pt != 2) + !pt", 2.0),
        ("pt > 1 ? 5 : 1/0", 5.0),
        ("(eta > 0) ? 1 : (pt >= 2) ? 2 : 3", 2.0),
        ("TMath::Sqrt(16) + fabs(eta) + pow(pt, 3) + TMath::Power(2, 2)", 16.5),
        ("exp(log(7)) + log10(100) + min(1, 2) + TMath::Max(3, 4)", 14.0),
        ("tanh(0) + TMath::CosH(0) + cos(TMath::Pi()) + acos(1)", 0.0),
        ("7 % 4 + .5 + 5. + 30E-1", 11.5),
        ("(pt > 1) - (pt > 1) - (pt > 1)", -1.0),
        ("1 + \\\n 1", 2.0),
    ],
)
def test_values(text, expected):
    assert value(text) == pytest.approx(expected, rel=1e-14)


def test_a_sum_of_many_terms():
    assert value(" + ".join(["1"] * 20_000)) == 20_000


def test_all_particles_at_once():
    found = Formula.parse("(pt < 2) * pt + (pt >= 2) * eta")(pt=np.array([1.0, 2.0, 3.0]), eta=np.array([5.0, 6.0, 7.0]))
    assert found.tolist() == [1.0, 6.0, 7.0]
    assert Formula.parse("0.3")(pt=np.ones(4)).shape == (4,)
    assert Formula.parse("pt*d0 + eta").variables == {"pt", "d0", "eta"}


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("pt * mass", "names 'mass', which is not known; a formula may depend on pt, eta"),
        ("__import__('os')", 'the character "\'"'),
        ("sqrt", "a function without its arguments"),
        ("sqrt(1, 2)", "gives 2 arguments to sqrt, which has 1"),
        ("(pt + 1", "has a '\\(' without its '\\)'"),
        ("pt + 1)", "goes on with '\\)' where it should end"),
        ("pt +", "ends where a number is expected"),
        ("* pt", "has '\\*' where a number is expected"),
        ("pt > 1 ? 2", "a '\\?' without its ':'"),
        ("", "is empty"),
        ("pt & 1", "the character '&'"),
        ("(" * (DEEPEST + 1) + "1" + ")" * (DEEPEST + 1), f"more than {DEEPEST} parentheses"),
        ("-" * 5000 + "1", f"more than {DEEPEST} signs"),
        ("pt ? 1 : " * 5000 + "1", f"more than {DEEPEST} parentheses or choices"),
    ],
)
def test_what_is_no_formula_is_said_in_a_sentence(text, what):
    with pytest.raises(ValueError, match=what) as error:
        Formula.parse(text, "card.tcl, Smear")
    assert str(error.value).startswith("card.tcl, Smear: the formula")


def test_a_division_by_zero_names_the_place():
    formula = Formula.parse("0.0116 + 0.0234/pt", "card.tcl, Smear")
    with pytest.raises(ValueError, match=r"Smear: the formula .* divides by zero or has no finite value at pt = 0"):
        formula(pt=np.array([1.0, 0.0]), eta=np.zeros(2))


def test_a_variable_that_nobody_knows_here():
    with pytest.raises(ValueError, match="depends on d0, which is not known here"):
        Formula.parse("d0 * 2")(pt=np.ones(2))
