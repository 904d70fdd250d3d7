"""s3nap: declarative, cycle-driven backups that restore without s3nap."""

__version__ = "0.1.0"
