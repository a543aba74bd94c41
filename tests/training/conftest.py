import importlib.util
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def toy():
    """The module `toy_gan.py`."""
    spec = importlib.util.spec_from_file_location("toy_gan", Path(__file__).with_name("toy_gan.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
