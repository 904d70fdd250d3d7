"""``python -m s3nap``."""

from s3nap.cli import main

main()
