"""How much is tried: what fits into every run of the tests, or what the environment asks for (``make soak``)."""

from __future__ import annotations

import os

MINUTES = float(os.environ.get("S3NAP_SOAK_MINUTES", "0"))
"""For how long histories are made up; where this is set, every step of a run is tried, too."""
FILES = int(os.environ.get("S3NAP_SOAK_FILES", "0"))
"""How large the trees of the thirty days are; where this is set, there are thirty days on S3 as well."""
_CASES = int(os.environ.get("S3NAP_FUZZ_CASES", "0"))
_ROUND = 5000  # of one search: hypothesis remembers all that it tried, three gigabytes for 50,000


def cases(few: int) -> int:
    """Return how many made-up confs to try in a round: ``few``, or some of what S3NAP_FUZZ_CASES says."""
    return min(_CASES, _ROUND) or few


def rounds() -> range:
    """Return as many rounds as come to what S3NAP_FUZZ_CASES says."""
    return range(max(1, -(-_CASES // _ROUND)))
