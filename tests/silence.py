"""A fixture for modules whose days, runs and restores would say a lot on standard error."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from loguru import logger


@pytest.fixture(scope="module")
def quiet() -> Iterator[None]:
    """S3nap logs nothing in this process. Of the module, so that worlds that a module shares can ask for it, too."""
    logger.disable("s3nap")
    yield
    logger.enable("s3nap")
