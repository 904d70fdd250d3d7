"""S3KeyFile: access key and secret, as s3napback kept them."""

from __future__ import annotations

import re
from pathlib import Path

from s3nap.errors import ConfError


def read_key_file(path: Path) -> tuple[str, str]:
    """Return access key and secret of a file with ``key=…`` and ``secret=…``, as s3napback's Java library had it."""
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfError([f"{path}: S3KeyFile cannot be read: {error}; correct its path or its rights"]) from error
    found = dict(re.findall(r"^[ \t]*(key|secret)[ \t]*[=:][ \t]*(\S+)[ \t]*$", text, re.MULTILINE))
    if found.keys() != {"key", "secret"}:
        raise ConfError([f"{path}: S3KeyFile needs two lines, key=… and secret=…; write what is missing"])
    return found["key"], found["secret"]
