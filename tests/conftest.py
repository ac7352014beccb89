"""Real data is read from ISH_DATA; without it the tests that need it are skipped, with this reason."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def ish_data() -> Path:
    """Return the folder of real data."""
    folder = os.environ.get("ISH_DATA")
    if not folder:
        pytest.skip("ISH_DATA is not set: it names the folder of real reference and ISH data")
    return Path(folder)
