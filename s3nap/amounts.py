"""How sizes and numbers read."""

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def size(count: int) -> str:
    """Write a number of bytes in IEC units."""
    value = float(count)
    for unit in _UNITS:
        if value < 1024 or unit == _UNITS[-1]:
            return f"{count} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    raise AssertionError(count)


def counted(number: int, word: str) -> str:
    """Write how many there are of something whose plural ends with s."""
    return f"{number:,} {word}" if number == 1 else f"{number:,} {word}s"
