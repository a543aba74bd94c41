"""Parametric digits: shapes, levels, strokes and the same digits for the same seed."""

import numpy as np
import pytest

from understudy.references.digits import DigitSimulator, LabelGun, parametric_digits, to_strokes
from understudy.simulator import GunSource


def generator(seed=1):
    return np.random.default_rng(seed)


def test_a_pixel_is_as_far_from_a_stroke_as_from_its_nearest_point():
    ends = generator().uniform(0, 9, (2, 3, 2, 2))
    found = to_strokes(ends, 10)
    t = np.linspace(0, 1, 2001)[:, None]
    for n, k, pixel in ((0, 0, 0), (1, 2, 57), (0, 1, 99)):
        a, b = ends[n, k]
        point = np.array([pixel % 10, pixel // 10])
        assert found[n, k, pixel] == pytest.approx(np.linalg.norm(a + t * (b - a) - point, axis=1).min(), abs=1e-3)


@pytest.mark.parametrize("coloured", [False, True])
def test_pictures_are_at_levels_of_a_byte_and_depend_on_the_seed_alone(coloured):
    source = parametric_digits(size=16, coloured=coloured)
    events, again = (source.generate(40, generator()) for _ in range(2))
    image = events["image"]
    assert image.shape == ((40, 3, 16, 16) if coloured else (40, 16, 16))
    np.testing.assert_allclose(image * 255, np.rint(image * 255), atol=1e-4)
    assert 0 <= image.min() < image.max() <= 1
    np.testing.assert_array_equal(image, again["image"])
    assert isinstance(source, GunSource)


def test_without_spread_a_class_is_one_picture_and_an_eight_has_all_the_light():
    simulator = DigitSimulator(spread=0.0)
    image = simulator.simulate({"label": np.array([8, 1, 8, 1])}, generator())["image"]
    np.testing.assert_array_equal(image[0], image[2])
    assert (image[0] >= image[1]).all()
    np.testing.assert_allclose(image[0], image[0][::-1, ::-1], atol=0.005)  # an eight upside down is an eight


def test_a_class_beyond_nine_is_refused():
    with pytest.raises(ValueError, match="event 1 asks for the digit 10; digits go from 0 to 9"):
        DigitSimulator().simulate({"label": np.array([3, 10])}, generator())


def test_a_gun_of_fewer_classes():
    assert set(LabelGun(classes=3).draw(100, generator())["label"]) == {0, 1, 2}
