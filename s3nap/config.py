"""From a conf file to checked, typed jobs; every fault of the file is reported at once."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import cast

from s3nap import conffile, confpairs, hostcheck, names
from s3nap.conffile import Directive, Section
from s3nap.confjob import conf_job
from s3nap.conflines import NO_KIND, Fault, Origin
from s3nap.confscope import Block, Source, Value, hooks_of
from s3nap.conftext import describe, generate, reference
from s3nap.cycle import Cycle, HanoiCycle, SimpleCycle
from s3nap.directives import CYCLE, HANOI, INCLUDE, KINDS, TABLE, WITHOUT_DIFFS, Scope, Spec, find, job_specs, top_specs
from s3nap.errors import ConfError
from s3nap.hookvalues import HOOK
from s3nap.job import Conf, Job, Setting

__all__ = ["describe", "generate", "load", "reference"]


def load(path: Path, *, on_this_host: bool = True, root: Path = Path("/")) -> Conf:
    """Return what a conf says, or raise one ConfError with every fault, ``file:line: what is wrong; what to do``.

    ``on_this_host=False`` leaves out what only the machine that the conf is for can answer: do directories, keys and
    files exist, and can nobody else read them. ``root`` as for ``conffile.read``.
    """
    tree, faults = conffile.read(path, root)
    loader = _Loader(path, faults)
    conf = loader.conf(tree, on_this_host=on_this_host)
    if faults:
        raise ConfError(*conffile.told(faults))
    return conf


class _Loader:
    """Walks the tree of one conf; collects faults and goes on."""

    def __init__(self, path: Path, faults: list[Fault]) -> None:
        self._path = path
        self._missing = Origin((sys.maxsize,), str(path))
        self._faults = faults
        self._cycles: dict[str, Block] = {}
        self._names_source = False
        self._paths: list[tuple[Spec, Value]] = []

    def conf(self, tree: Section, *, on_this_host: bool) -> Conf:
        """Check everything; what is returned is of use only if there is no fault."""
        top = Block(tree, None, None)
        self._scope(top)
        settings = {spec.name: _setting(spec, None, top) for spec in (*top_specs(), *job_specs())}
        jobs = tuple(self._jobs(top, *self._cycles.values()))
        self._required(top)
        if on_this_host:
            for spec, found in self._paths:
                for _, message in hostcheck.faults({spec.name: cast("Path", found.value)}):
                    self._fault(found.origin, message)
        own = conf_job(self._path, tree.files, settings, jobs)
        return Conf(file=self._path, settings=settings, jobs=(*jobs, own) if own is not None else jobs)

    def _fault(self, origin: Origin, message: str) -> None:
        self._faults.append(Fault(origin, message))

    def _scope(self, scope: Block) -> None:
        for entry in scope.section.entries:
            if isinstance(entry, Section):
                self._block(scope, entry)
            else:
                self._directive(scope, entry)

    # directives

    def _directive(self, scope: Block, entry: Directive) -> None:
        spec = find(entry.name)
        if spec is None:
            self._unknown(entry)
        elif spec.scope is Scope.SOURCE:
            self._source_line(scope, spec, entry)
        elif spec.scope is Scope.TOP and scope.kind is not None:
            self._fault(entry.origin, f"{spec.name} stands {scope.title}; it belongs at the top level")
        elif scope.kind in KINDS and len(spec.kinds) == 1 and scope.kind not in spec.kinds:
            self._fault(entry.origin, f"{spec.name} is for {spec.kinds[0]} only, not {scope.title}; take it out")
        else:
            self._value(scope, spec, entry)

    def _unknown(self, entry: Directive) -> None:
        if entry.name.lower() == CYCLE.lower():
            self._fault(entry.origin, f"Cycle is a block; write <Cycle {entry.raw}> … </Cycle>")
        else:
            hint = _similar(entry.name, [*TABLE, INCLUDE]) or "; see `s3nap config generate` for all there are"
            self._fault(entry.origin, f"unknown directive {entry.name}{hint}")

    def _value(self, scope: Block, spec: Spec, entry: Directive) -> None:
        if not spec.repeatable and spec.name in scope.seen:
            first = scope.seen[spec.name].text
            self._fault(entry.origin, f"{spec.name} stands twice {scope.title}, first at {first}; keep one")
            return
        origin = entry.origin.at(entry.valued)
        scope.seen.setdefault(spec.name, origin)
        if not entry.values:
            return
        try:
            value = spec.type.read(entry.values)
        except ValueError as error:
            self._fault(_blamed(entry, str(error)), f"{spec.name}: {error}")
            return
        found = Value(value=value, origin=origin)
        if spec.name in hostcheck.PATHS:
            self._paths.append((spec, found))
        before = scope.values.get(spec.name)
        scope.values[spec.name] = _added(before, found) if before else found

    # blocks and sources

    def _block(self, scope: Block, section: Section) -> None:
        written = section.kind or ""
        kind = {name.lower(): name for name in (CYCLE, *KINDS)}.get(written.lower())
        if kind is None:
            self._unknown_block(section, written)
            self._scope(Block(section, CYCLE, scope))  # what is in it may be wrong, too
        elif kind == CYCLE:
            self._cycle(scope, section)
        elif scope.kind not in {None, CYCLE}:
            self._fault(section.origin, f"<{kind}> stands {scope.title}; it belongs at the top level or in a Cycle")
        else:
            inner = Block(section, kind, scope)
            self._names_source = True
            if section.name is None:
                self._fault(
                    section.origin, f"<{kind}> names no source; write <{kind} {TABLE[kind].example.split()[0]}>"
                )
            elif section.name:
                self._source(scope, inner, kind, section.name, section.origin.at(section.named))
            self._scope(inner)

    def _unknown_block(self, section: Section, written: str) -> None:
        spec = find(written)
        if written == NO_KIND:
            return
        if spec is not None:
            self._fault(section.origin, f"{spec.name} is no block; write it as a line: {spec.name} {spec.example}")
        else:
            hint = _similar(written, [CYCLE, *KINDS]) or f"; there are {', '.join((CYCLE, *KINDS))}"
            self._fault(section.origin, f"unknown block <{written}>{hint}")

    def _cycle(self, scope: Block, section: Section) -> None:
        name, named = section.name, section.origin.at(section.named)
        inner = Block(section, CYCLE, scope)
        if scope.kind is not None:
            self._fault(section.origin, f"<Cycle> stands {scope.title}; it belongs at the top level")
        elif name is None:
            self._fault(section.origin, "<Cycle> has no name; write <Cycle name>")
        elif name in KINDS:
            self._fault(named, f"a Cycle cannot be named {name}, as a kind of source; give it another name")
        elif name in self._cycles:
            first = self._cycles[name].section.origin.text
            self._fault(named, f"a second <Cycle {name}>, first at {first}; rename one, or make them one")
        elif name:
            self._cycles[name] = inner
        self._scope(inner)

    def _source_line(self, scope: Block, spec: Spec, entry: Directive) -> None:
        if scope.kind not in {None, CYCLE}:
            self._fault(entry.origin, f"{spec.name} stands {scope.title}; it belongs at the top level or in a Cycle")
            return
        self._names_source = True
        for word, spot in zip(entry.values, entry.spots, strict=False):
            self._source(scope, scope, spec.name, word, entry.origin.at(spot))

    def _source(self, holder: Block, scope: Block, kind: str, word: str, origin: Origin) -> None:
        try:
            text = str(TABLE[kind].type.read((word,)))
        except ValueError as error:
            self._fault(origin, f"{kind}: {error}")
            return
        stored = names.job_name(kind, text)  # what must not be shared
        if stored in holder.sources:
            first = holder.sources[stored].origin.text
            self._fault(origin, f"{kind} {text} stands twice {holder.title}, first at {first}; take one out")
            return
        holder.sources[stored] = Source(kind=kind, text=text, origin=origin, scope=scope)

    # jobs

    def _jobs(self, *scopes: Block) -> Iterator[Job]:
        for scope in scopes:
            cycle = scope.section.name
            for kind in KINDS:
                for source in scope.sources.values():
                    if source.kind == kind:
                        yield self._job(source, cycle)

    def _job(self, source: Source, cycle: str | None) -> Job:
        settings = {spec.name: _setting(spec, source.kind, source.scope) for spec in job_specs(source.kind)}
        for origin, message in confpairs.of_job(source, settings):
            self._fault(origin, message)
        return Job(
            name=names.job_name(source.kind, source.text, cycle),
            kind=source.kind,
            source=source.text,
            scope=cycle,
            cycle=_rotation(settings),
            settings=settings,
            origin=source.origin.text,
        )

    def _required(self, top: Block) -> None:
        for name in ("DiffDir", "Bucket"):
            if name not in top.seen:
                self._fault(self._missing, f"{name} must be defined.")
        for origin, message in confpairs.of_top(top):
            self._fault(origin, message)
        if not self._names_source:
            self._fault(self._missing, f"nothing to back up; name a source ({', '.join(KINDS)})")


def _blamed(entry: Directive, message: str) -> Origin:
    """Return the place of the value that a message begins with; of all of them if it names none."""
    spots = zip(entry.values, entry.spots, strict=False)
    named = next((spot for word, spot in spots if message.startswith((f"{word} ", repr(word)))), entry.valued)
    return entry.origin.at(named)


def _similar(name: str, known: list[str]) -> str:
    lower = {each.lower(): each for each in known}
    close = get_close_matches(name.lower(), lower, n=1)
    return f": did you mean {lower[close[0]]}?" if close else ""


def _added(outer: Value, inner: Value) -> Value:
    """Add up two tuples; the origin names both."""
    first, second = (cast("tuple[str, ...]", each.value) for each in (outer, inner))
    return Value(value=first + second, origin=Origin(inner.origin.order, f"{outer.origin.text}, {inner.origin.text}"))


def _setting(spec: Spec, kind: str | None, scope: Block) -> Setting:
    """Return the value in effect: of the innermost scope that has one, or of all together."""
    holders = [each for each in scope.chain() if spec.name in each.values and (each.kind or not (spec.apart and kind))]
    if not holders or (spec.name == "Diffs" and kind in WITHOUT_DIFFS):
        return Setting(value=spec.default_for(kind), origin="default")
    found = [each.values[spec.name] for each in holders]
    value = found[0]
    if spec.type is HOOK:
        return Setting(value=hooks_of(holders[0], spec.name), origin=value.origin.text)
    if spec.cumulative:
        for outer in found[1:]:
            value = _added(outer, value)
    return Setting(value=value.value, origin=value.origin.text)


def _rotation(settings: Mapping[str, Setting]) -> Cycle:
    value = {name: setting.value for name, setting in settings.items()}
    if value["CycleType"] == HANOI:
        return HanoiCycle(
            frequency=value["Frequency"],
            discs=value["Discs"],
            archive_oldest_disc=value["ArchiveOldestDisc"],
        )
    return SimpleCycle(frequency=value["Frequency"], phase=value["Phase"], diffs=value["Diffs"], fulls=value["Fulls"])
