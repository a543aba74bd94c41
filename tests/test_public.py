from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

import understudy


@pytest.mark.parametrize("name", understudy.__all__)
def test_every_public_name_can_be_had_and_is_documented(name):
    assert getattr(understudy, name).__doc__


def test_run_is_the_function_whatever_was_imported_before():
    importlib.import_module("understudy.steps")  # imports all rooms
    assert callable(understudy.run)
    assert understudy.run.__module__ == "understudy.journey"


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="no attribute 'train_gan'"):
        understudy.train_gan  # noqa: B018


def test_importing_the_package_is_quick():
    code = "import sys, understudy; print(sorted({'torch', 'numpy', 'sklearn', 'h5py'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_numerical_rooms_do_not_print_and_imports_run_downhill():
    """Validation knows no models, networks no losses, and the foundations nothing above them."""
    code = (
        "import sys, {module}\nprint([m for m in sys.modules if m.startswith('understudy.') and m.split('.')[1] in {forbidden}])"
    )
    rules = {
        "understudy.events, understudy.geometry, understudy.simulator": [
            "models",
            "training",
            "validation",
            "deployment",
            "recipe",
        ],
        "understudy.validation.compare": ["models", "networks", "training", "deployment", "surrogate", "journey"],
        "understudy.networks.dense": ["models", "training", "validation", "deployment"],
        "understudy.transforms.base": ["models", "training", "validation", "deployment"],
    }
    for module, forbidden in rules.items():
        script = code.format(module=module, forbidden=forbidden)
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "[]", module
