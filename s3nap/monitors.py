"""How findings read: for people, for Nagios and its kin, for Prometheus, as JSON."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from s3nap.findings import Finding, Level
from s3nap.logs import one_line
from s3nap.names import readable

_SHOWN = 5  # findings in Nagios's line; old transports cut it at a kilobyte


def _farthest(values: Iterable[float]) -> float:
    return max(values, key=abs)


_METRICS: dict[str, tuple[str, Callable[[Iterable[float]], float], str]] = {
    "backup_age_days": ("Days since the day of the last archive that restores.", max, ""),
    "archives": ("Archives that restore.", min, ""),
    "distrusted": ("Archives found damaged.", max, ""),
    "verified_age_days": ("Days since the archives were last verified.", max, ""),
    "drilled_age_days": ("Days since a restore was last rehearsed.", max, ""),
    "recipient_expires_days": ("Days until a recipient's key expires.", min, ""),
    "clock_offset_seconds": ("Seconds this machine's clock is ahead of the storage's.", _farthest, "s"),
    "free_bytes": ("Bytes free where s3nap keeps its files.", min, "B"),
}
"""Metrics by name: help, which of several is the worst, unit in Nagios's words."""


def worst(findings: Iterable[Finding]) -> Level:
    """Return the level of all together; nothing checked is unknown."""
    return max((finding.level for finding in findings), key=lambda level: level.rank, default=Level.UNKNOWN)


def ordered(findings: Iterable[Finding]) -> list[Finding]:
    """Sort, the worst first."""
    return sorted(findings, key=lambda each: (-each.level.rank, each.check, each.host, each.subject))


def lines(findings: Sequence[Finding], *, hosts: bool) -> Iterator[str]:
    """Yield a line for each finding."""
    for finding in findings:
        yield f"{finding.level.name:<8}  {_words(finding, hosts=hosts)}"


def records(findings: Sequence[Finding]) -> dict[str, Any]:
    """Return the document of ``--json``."""
    level = worst(findings)
    checks = [
        {
            "check": finding.check,
            "host": finding.host,
            "subject": finding.subject,
            "level": finding.level.name,
            "text": finding.text,
            "metrics": dict(finding.metrics),
        }
        for finding in findings
    ]
    return {"level": level.name, "status": int(level), "checks": checks}


def nagios(findings: Sequence[Finding], *, hosts: bool) -> str:
    """Return the status line and performance data, by the Monitoring Plugins' guidelines."""
    bad = [finding for finding in findings if finding.level is not Level.OK]
    said = "; ".join(_words(finding, hosts=hosts) for finding in bad[:_SHOWN])
    more = f"; and {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else ""
    summary = f"{said}{more}" if bad else f"{len(findings)} checks"
    counts = [(level.name.lower(), sum(each.level is level for each in findings)) for level in Level]
    data = [f"{name}={count};;;0" for name, count in counts]
    for name, (_, choose, unit) in _METRICS.items():
        if values := [each.metrics[name] for each in findings if name in each.metrics]:
            data.append(f"{name}={_number(choose(values))}{unit}")
    # a bar would begin performance data, markup may be shown as such
    return f"S3NAP {worst(findings).name} - {re.sub('[|<>]', ' ', summary)} | {' '.join(data)}"


def prometheus(findings: Sequence[Finding], now: float) -> str:
    """Return the text of a file for node_exporter's textfile collector."""
    out = ["# HELP s3nap_check Outcome: 0 ok, 1 warning, 2 critical, 3 unknown.", "# TYPE s3nap_check gauge"]
    worst_of: dict[str, Level] = {}
    for finding in findings:  # worst first; a series may stand once only
        worst_of.setdefault(_labels(finding, check=True), finding.level)
    out += [f"s3nap_check{labels} {int(level)}" for labels, level in worst_of.items()]
    for name, (text, _, _) in _METRICS.items():
        values = {_labels(each): each.metrics[name] for each in findings if name in each.metrics}
        if values:
            out += [f"# HELP s3nap_{name} {text}", f"# TYPE s3nap_{name} gauge"]
            out += [f"s3nap_{name}{labels} {_number(value)}" for labels, value in values.items()]
    out += [
        "# HELP s3nap_checked_timestamp_seconds When this was found out.",
        "# TYPE s3nap_checked_timestamp_seconds gauge",
        f"s3nap_checked_timestamp_seconds {now:.0f}",
    ]
    return "\n".join(out) + "\n"


def write_textfile(path: Path, text: str) -> None:
    """Write a file that others may read, whole or not at all; the collector must never meet half of it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")  # not *.prom
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _words(finding: Finding, *, hosts: bool) -> str:
    of = " ".join(filter(None, [finding.host if hosts else "", readable(finding.subject)]))
    return one_line(f"{finding.check}{f' {of}' if of else ''}: {finding.text}")


def _labels(finding: Finding, *, check: bool = False) -> str:
    named = {"check": finding.check} if check else {}
    named |= {"host": finding.host, "subject": finding.subject}
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in named.items()) + "}"


def _escaped(value: str) -> str:
    plain = value.encode("utf-8", "backslashreplace").decode()
    return plain.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
