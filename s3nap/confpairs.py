"""Directives of the top level that exclude or need each other."""

from __future__ import annotations

from collections.abc import Iterator

from s3nap.conflines import Origin
from s3nap.confscope import Block


def faults(top: Block) -> Iterator[tuple[Origin, str]]:
    """Yield where and what is wrong with each pair that does not fit; what to do stands in the message."""
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
