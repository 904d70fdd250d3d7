"""Directives that exclude or need each other: those of the top level, and the values in effect for one job."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from s3nap.conflines import Origin
from s3nap.confscope import Block, Source
from s3nap.directives import HANOI
from s3nap.job import Setting

Found = Iterator[tuple[Origin, str]]
"""Where and what is wrong with each pair that does not fit; what to do stands in the message."""


def of_top(top: Block) -> Found:
    """Yield what does not fit at the top level."""
    seen = top.seen
    if "GpgRecipient" in seen and "GpgPassphraseFile" in seen:
        later = max(seen["GpgRecipient"], seen["GpgPassphraseFile"])
        yield later, "GpgRecipient and GpgPassphraseFile exclude each other; take one out"
    if "SignPassphraseFile" in seen and "SignKey" not in seen:
        yield seen["SignPassphraseFile"], "SignPassphraseFile is of no use without SignKey; write one, or take this out"
    if "Ping" in seen and "PingFile" in seen:
        yield max(seen["Ping"], seen["PingFile"]), "Ping and PingFile exclude each other; take one out"
    if "NotifyOn" in seen and not {"Notify", "NotifyFile"} & seen.keys():
        yield seen["NotifyOn"], "NotifyOn is of no use without Notify; write whom to tell, or take this out"
    bucket = top.values.get("Bucket")
    if "ObjectLock" in seen and bucket is not None and str(bucket.value).startswith("file:"):
        yield seen["ObjectLock"], f"ObjectLock is for S3; {bucket.value} is a directory and cannot lock: take it out"


def of_job(source: Source, settings: Mapping[str, Setting]) -> Found:
    """Yield what does not fit among the values in effect for one job."""
    scope = source.scope
    phase, frequency = settings["Phase"].value, settings["Frequency"].value
    if settings["CycleType"].value != HANOI and phase >= frequency and _is_read("Frequency", scope):
        message = f"Phase {phase} must be below Frequency {frequency} ({settings['Frequency'].origin}); correct one"
        yield _origin("Phase", scope), message
    if settings["UseTempFile"].value and "TempDir" not in scope.chain()[-1].seen:
        yield _origin("UseTempFile", scope), "TempDir must be defined in order to UseTempFile."
    if source.kind == "Command":
        yield from _command(source, settings)
    if source.kind == "PostgreSQL":
        yield from _postgresql(source, settings)


def _command(source: Source, settings: Mapping[str, Setting]) -> Found:
    scopes = source.scope.chain()
    if not any("Dump" in scope.seen for scope in scopes):
        message = f"Command {source.text} has no Dump; write <Command {source.text}> with a line Dump and a command"
        yield source.origin, message
    if settings["CycleType"].value == HANOI or not settings["Diffs"].value:
        return
    if not any("DumpDiff" in scope.seen for scope in scopes):
        message = f"Command {source.text} has no DumpDiff, which Diffs above 0 need; write one, or Diffs 0"
        yield _origin("Diffs", source.scope), message


def _postgresql(source: Source, settings: Mapping[str, Setting]) -> Found:
    if settings["PostgreSQLFormat"].value == "custom" and source.text.rpartition("@")[2] == "all":
        message = f"PostgreSQL {source.text} can only be dumped as plain; write PostgreSQLFormat plain for it"
        yield _origin("PostgreSQLFormat", source.scope), message


def _origin(name: str, scope: Block) -> Origin:
    return next(each.seen[name] for each in scope.chain() if name in each.values)


def _is_read(name: str, scope: Block) -> bool:
    """Is the value in effect not a default in place of one that is at fault?"""
    return all(name in each.values for each in scope.chain() if name in each.seen)
