"""Other people's tools, whose trees ws3 import reads and which read what ws3 exports."""

from __future__ import annotations

import importlib
import os
from typing import Any

import pytest


def tool(module: str) -> Any:
    """Return a tool's module; without it skip the test, unless WS3_TEST_TOOLS says it is there.

    `make test-tools` installs all tools and sets WS3_TEST_TOOLS.
    """
    if os.environ.get("WS3_TEST_TOOLS"):
        return importlib.import_module(module)
    return pytest.importorskip(
        module, reason=f"{module} isn't installed; make test-tools runs this test"
    )
