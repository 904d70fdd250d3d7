"""How much is tried: what fits into every run of the tests, or what the environment asks for (``make soak``)."""

from __future__ import annotations

import os

MINUTES = float(os.environ.get("S3NAP_SOAK_MINUTES", "0"))
"""For how long histories are made up; where this is set, every step of a run is tried, too."""
FILES = int(os.environ.get("S3NAP_SOAK_FILES", "0"))
"""How large the trees of the thirty days are; where this is set, there are thirty days on S3 as well."""
_CASES = int(os.environ.get("S3NAP_FUZZ_CASES", "0"))


def cases(few: int) -> int:
    """Return how many made-up confs to try: ``few``, or as many as S3NAP_FUZZ_CASES says."""
    return _CASES or few
