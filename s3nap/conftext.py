"""Texts made from the table of directives: an example conf, the README's reference, the values in effect."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from s3nap.confwords import quoted
from s3nap.directives import INCLUDE, TABLE, Scope, Spec
from s3nap.hookvalues import HOOK, SecretUrl
from s3nap.job import Conf, Job, Setting
from s3nap.limitvalues import RATES
from s3nap.priority import IoClass
from s3nap.values import SIZE, Packing

_REQUIRED = ("DiffDir", "Bucket")
_UNITS = (("G", 1 << 30), ("M", 1 << 20), ("K", 1 << 10), ("", 1))
_BLOCKS = """\
# Blocks: what stands in one governs the sources in it.
# A Cycle, with as many sources as you like:

<Cycle daily>
    Frequency 1
    Diffs 6
    Fulls 2

    Directory /etc
</Cycle>

# A source with values of its own:
#<MySQL all>
#    Fulls 14
#</MySQL>

# Other files (a file, a directory, a pattern):
#Include /etc/s3nap/conf.d/*.conf
"""


def describe(conf: Conf, jobs: Sequence[Job] | None = None) -> list[dict[str, object]]:
    """Return for these jobs (all of a conf's) all values in effect, and where each came from; fit for JSON.

    ``run`` has the hooks of the run as a whole, as far as there are any: what a job's settings say is about the job.
    """
    run = {name: _plain(value) for name, value in conf.settings.items() if TABLE[name].apart and value.value}
    return [
        {
            "job": each.name,
            "kind": each.kind,
            "source": each.source,
            "cycle": each.scope,
            "origin": each.origin,
            "run": run,
            "settings": {name: _plain(value) for name, value in {**_top(conf), **each.settings}.items()},
        }
        for each in (conf.jobs if jobs is None else jobs)
    ]


def written(name: str, value: object) -> str:
    """Return a directive's value, as ``describe`` has it, as a conf would say it; what the default means in brackets.

    Of what no conf could say, the text alone.
    """
    spec = TABLE[name]
    if value is None or value == []:
        return f"({spec.shown})"
    if isinstance(value, bool):
        return "On" if value else "Off"
    if spec.type is SIZE and isinstance(value, int):
        return next(f"{value // unit}{letter}" for letter, unit in _UNITS if value % unit == 0)
    if isinstance(value, list):
        return ", ".join(value) if spec.type in {RATES, HOOK} else " ".join(map(_quoted, value))
    return str(value) if spec.type.several else _quoted(str(value))


def _quoted(word: str) -> str:
    try:
        return quoted(word)
    except ValueError:
        return word


def generate(blocks: str = _BLOCKS, keys: str = "") -> str:
    """Return a commented conf of every directive; it loads as soon as DiffDir and Bucket are right.

    ``blocks`` are what it backs up; ``keys``, comments about the keys there are, follow GpgRecipient.
    """
    parts = ["# A configuration of s3nap. Lines that begin with # are comments; the values after them are examples.\n"]
    for title, scope in (
        ("For everything; at the top level only.", Scope.TOP),
        ("For each source; at the top level, in a Cycle, or in the block of a source. The innermost wins.", Scope.JOB),
        ("Sources; at the top level or in a Cycle. Each may also be a block: <Directory /path>.", Scope.SOURCE),
    ):
        parts.append(f"# --- {title} ---\n")
        specs = (spec for spec in TABLE.values() if spec.scope is scope)
        parts += [_example(spec) + (keys if spec.name == "GpgRecipient" else "") for spec in specs]
    return "\n".join([*parts, blocks])


def reference() -> str:
    """Return the table of directives in Markdown."""
    rows = [("Directive", "Value", "Default", "Stands at", "Meaning"), ("---",) * 5]
    rows += [(f"`{spec.name}`", spec.type.text, default_text(spec), _where(spec), spec.help) for spec in TABLE.values()]
    rows.append((f"`{INCLUDE}`", "file, directory or pattern, …", "", "anywhere", "Files that are read in its place."))
    return "".join("| " + " | ".join(cell.replace("|", r"\|") for cell in row) + " |\n" for row in rows)


def default_text(spec: Spec) -> str:
    """Return a directive's default in words; empty for sources, which have none."""
    if spec.shown or spec.scope is Scope.SOURCE:
        return spec.shown
    if isinstance(spec.default, bool):
        return "On" if spec.default else "Off"
    return str(spec.default)


def _where(spec: Spec) -> str:
    if spec.scope is Scope.JOB and len(spec.kinds) == 1:
        return f"{spec.scope} ({spec.kinds[0]})"
    return spec.scope


def _example(spec: Spec) -> str:
    if spec.name in _REQUIRED:
        return f"# {spec.help} Must be given.\n{spec.name} {spec.example}\n"
    about = f" Default: {default_text(spec)}." if default_text(spec) else ""
    return f"# {spec.help}{about}\n#{spec.name} {spec.example}\n"


def _top(conf: Conf) -> dict[str, Setting]:
    return {name: value for name, value in conf.settings.items() if TABLE[name].scope is Scope.TOP}


def _plain(setting: Setting) -> dict[str, object]:
    value = setting.value
    if isinstance(value, (Path, Packing, IoClass, SecretUrl)):
        value = str(value)
    elif isinstance(value, tuple):
        value = [str(each) for each in value]  # a rate is not JSON's
    return {"value": value, "origin": setting.origin}
