"""What can be backed up: one class per kind of source."""
