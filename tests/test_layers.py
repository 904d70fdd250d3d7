"""The house rules that no linter knows: who may import whom, and who may touch the outside world.

The checks read the source (``ast``) and import nothing, so that imports inside functions and under
``TYPE_CHECKING`` count as well. Each check takes ``{module: source}`` and returns what is wrong; the last tests
feed them offenders, because a check that cannot fail protects nothing.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

Sources = Mapping[str, str]

PACKAGE = "s3nap"
ROOT = Path(__file__).parent.parent / PACKAGE

# From the lowest to the highest. A module may import its own layer and those below. The packages ``sources`` and
# ``storage`` themselves hold only the Protocols: anybody may know them; what is in them has a layer of its own.
LAYERS: Mapping[str, frozenset[str]] = {
    "ground": frozenset(
        {
            "",
            "amounts",
            "bounded",
            "conffile",
            "conflines",
            "confwords",
            "colours",
            "cycle",
            "errors",
            "glance",
            "interruption",
            "job",
            "lately",
            "logconfig",
            "logs",
            "logtail",
            "manifest",
            "memory",
            "mounts",
            "names",
            "pace",
            "pipeline",
            "priority",
            "progress",
            "sources",
            "state",
            "storage",
        }
    ),
    "storage": frozenset(
        {
            "storage.*",
        }
    ),
    "sources": frozenset(
        {
            "sources.*",
        }
    ),
    "middle": frozenset(
        {
            "catalog",
            "chunks",
            "compression",
            "config",
            "confjob",
            "confpairs",
            "confscope",
            "conftext",
            "copies",
            "crew",
            "directives",
            "drilled",
            "entries",
            "envelope",
            "gpg",
            "hookvalues",
            "hostcheck",
            "leftovers",
            "limitvalues",
            "liveness",
            "policies",
            "recipe",
            "recipients",
            "retention",
            "signing",
            "succession",
            "values",
            "verified",
        }
    ),
    "policy": frozenset(
        {
            "findings",
            "forecast",
            "jobchecks",
            "machinechecks",
            "plan",
        }
    ),
    "acts": frozenset(
        {
            "abreast",
            "answering",
            "archivefs",
            "archiving",
            "audit",
            "backup",
            "comparing",
            "contents",
            "coverage",
            "daytree",
            "drill",
            "dumping",
            "estimate",
            "hooks",
            "inventory",
            "legacy",
            "legacyread",
            "marking",
            "notices",
            "peeking",
            "picking",
            "ping",
            "probe",
            "prune",
            "putback",
            "ranges",
            "readback",
            "reader",
            "remains",
            "restore",
            "results",
            "resuming",
            "secondlook",
            "sides",
            "survey",
            "telling",
            "trimming",
            "upkeep",
            "verify",
            "vitals",
        }
    ),
    "face": frozenset(
        {
            "__main__",
            "access",
            "advice",
            "auditing",
            "bootstrap",
            "browser",
            "browsing",
            "checking",
            "carets",
            "cli",
            "commands",
            "completing",
            "confinement",
            "confshow",
            "deleting",
            "detected",
            "drilling",
            "fitting",
            "gaps",
            "handover",
            "housekeeping",
            "installing",
            "intofolder",
            "legacyshow",
            "listing",
            "looking",
            "monitors",
            "mounting",
            "namedconfs",
            "options",
            "outlook",
            "packages",
            "placing",
            "plainsh",
            "planning",
            "probing",
            "reading",
            "rebuilding",
            "recovering",
            "report",
            "restoring",
            "runbook",
            "running",
            "runreport",
            "salvaging",
            "schedule",
            "tables",
            "tour",
            "verifying",
            "vouching",
            "walking",
            "watching",
            "weeks",
            "when",
        }
    ),
}

ONLY_IN = {
    "botocore": "storage.s3",
    "gnupg": "recipients",
    "apprise": "notices",
    "apacheconfig": "conffile",
    "subprocess": "pipeline",
    "pty": "pipeline",
}
STARTS_PROGRAMS = ("system", "popen", "spawn", "posix_spawn", "exec", "fork")
PURE = frozenset({"cycle", "plan", "liveness", "forecast"})
IMPURE = frozenset({"os", "time", "socket", "pathlib", "random"})
ASKS_THE_TIME = frozenset({"today", "now", "utcnow"})
SHAPELESS = frozenset({"utils", "util", "helpers", "helper", "manager", "base", "common", "misc"})


def sources() -> dict[str, str]:
    """Every module of the package by its name within it: ``storage.s3``; the package itself is ``""``."""
    found = {}
    for file in sorted(ROOT.rglob("*.py")):
        parts = file.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file.read_text("utf-8")
    return found


def layer(module: str) -> str | None:
    """The layer of a module; None if it has no place."""
    package = f"{module.partition('.')[0]}.*" if "." in module else module
    return next((name for name, members in LAYERS.items() if module in members or package in members), None)


# the checks


def misplaced(modules: Sources) -> list[str]:
    """Modules without a place, and modules whose names say nothing."""
    wrong = [f"{name} has no place: put it into LAYERS in {Path(__file__).name}" for name in modules if not layer(name)]
    wrong += [f"{name}: a name that says nothing" for name in modules if name.rpartition(".")[2] in SHAPELESS]
    return wrong


def upward(modules: Sources) -> list[str]:
    """Imports of a higher layer."""
    order = list(LAYERS)
    edges = [(name, target) for name, targets in graph(modules).items() for target in sorted(targets)]
    return [
        f"{name} ({low}) imports {target} ({high})"
        for name, target in edges
        if (low := layer(name)) and (high := layer(target)) and order.index(low) < order.index(high)
    ]


def cycles(modules: Sources) -> list[str]:
    """Modules that import each other, by whatever way round."""
    left = {name: set(targets) for name, targets in graph(modules).items()}
    while done := {name for name, targets in left.items() if not targets & left.keys()}:
        left = {name: targets for name, targets in left.items() if name not in done}
    return [f"in or behind an import cycle: {', '.join(sorted(left))}"] if left else []


def trespassing(modules: Sources) -> list[str]:
    """Imports of libraries that are one module's own business."""
    return [
        f"{name} imports {target}: only {owner} may"
        for name, source in modules.items()
        for target in imported(name, source)
        if (owner := ONLY_IN.get(target.partition(".")[0])) not in {None, name}
    ]


def programs(modules: Sources) -> list[str]:
    """Programs started outside of ``pipeline``, or anywhere with a shell."""
    wrong = []
    for name, source in modules.items():
        if name != "pipeline":
            used = [*os_names(source), *(t for t in imported(name, source) if t.startswith("asyncio.subprocess"))]
            wrong += [f"{name} uses {word}: only pipeline may" for word in used if starts_program(word)]
        wrong += [
            f"{name}:{node.value.lineno} asks for a shell"
            for node in ast.walk(ast.parse(source))
            if isinstance(node, ast.keyword) and node.arg == "shell" and not is_false(node.value)
        ]
    return wrong


def impure(modules: Sources) -> list[str]:
    """Pure modules that do I/O, roll dice, or ask what time it is."""
    wrong = []
    for name in sorted(PURE & modules.keys()):
        targets = {target.partition(".")[0] for target in imported(name, modules[name])}
        wrong += [f"{name} imports {target}: it is to be pure" for target in sorted(targets & IMPURE)]
        wrong += [
            f"{name}:{node.lineno} asks for the time: let the caller say it"
            for node in ast.walk(ast.parse(modules[name]))
            if isinstance(node, ast.Attribute) and node.attr in ASKS_THE_TIME
        ]
    return wrong


CHECKS = (misplaced, upward, cycles, trespassing, programs, impure)


# reading imports


def imported(module: str, source: str) -> Iterator[str]:
    """Full names of all that a module imports: ``a.b`` for ``import a.b`` and for ``from a import b``."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import():
                yield from (alias.name for alias in node.names)
            case ast.ImportFrom():
                start = ".".join(filter(None, [base(module, node.level) if node.level else "", node.module]))
                yield from (f"{start}.{alias.name}" for alias in node.names)
            case ast.Call(func=ast.Name(id="__import__") | ast.Attribute(attr="import_module")) if node.args:
                # what is not a literal cannot be told; there is none of this package's own
                yield from (arg.value for arg in node.args[:1] if isinstance(arg, ast.Constant))


def base(module: str, level: int) -> str:
    """What a relative import of ``level`` dots starts from."""
    here = [PACKAGE, *module.split(".")] if module else [PACKAGE]
    is_package = module in {"", "sources", "storage"}
    return ".".join(here[: len(here) - level + is_package])


def graph(modules: Sources) -> dict[str, set[str]]:
    """Which module imports which, within the package."""
    known = modules.keys() | {name for members in LAYERS.values() for name in members}
    return {name: within(imported(name, source), known) - {name} for name, source in modules.items()}


def within(targets: Iterator[str], known: set[str]) -> set[str]:
    """The package's modules among what is imported: ``s3nap.storage.Storage`` means ``storage``."""
    found = set()
    for target in targets:
        head, _, name = target.partition(".")
        if head == PACKAGE:
            while name and name not in known:
                name = name.rpartition(".")[0]
            found.add(name)
    return found


def os_names(source: str) -> Iterator[str]:
    """``os.x`` for every use of the modules that can start programs, under whatever alias."""
    tree = ast.parse(source)
    aliases = {"os": "os", "asyncio": "asyncio"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            aliases |= {alias.asname: alias.name for alias in node.names if alias.asname}
        elif isinstance(node, ast.ImportFrom) and node.module in {"os", "asyncio", "posix"}:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield f"{aliases.get(node.value.id, '')}.{node.attr}"


def starts_program(word: str) -> bool:
    """Whether ``os.x`` or ``asyncio.x`` starts a program."""
    module, _, name = word.partition(".")
    if module == "asyncio":
        return "subprocess" in name
    return module in {"os", "posix"} and name.startswith(STARTS_PROGRAMS)


def is_false(value: ast.expr) -> bool:
    """Whether an argument is the literal ``False``."""
    return isinstance(value, ast.Constant) and value.value is False


# the tests


@pytest.mark.parametrize("check", CHECKS)
def test_the_house_is_in_order(check: Callable[[Sources], list[str]]) -> None:
    """Layers, the only users of dangerous libraries, and purity hold for every module of the package."""
    assert check(sources()) == []


def test_all_modules_are_seen() -> None:
    """The checks look at the real package: an empty one would always be in order."""
    found = sources()
    assert {"", "errors", "storage", "sources"} <= found.keys()
    assert graph(found)["cycle"] >= {"manifest"}


@pytest.mark.parametrize(
    ("check", "modules", "said"),
    [
        (misplaced, {"surprise": ""}, "surprise has no place"),
        (misplaced, {"deep.surprise": ""}, "deep.surprise has no place"),
        (misplaced, {"storage.utils": ""}, "storage.utils: a name that says nothing"),
        (upward, {"errors": "import s3nap.cli"}, "errors (ground) imports cli (face)"),
        (upward, {"catalog": "from s3nap import plan"}, "catalog (middle) imports plan (policy)"),
        (upward, {"catalog": "from s3nap.plan import Task as T"}, "imports plan"),
        (upward, {"plan": "def f():\n    from s3nap.backup import run"}, "imports backup"),
        (upward, {"job": "if TYPE_CHECKING:\n    from s3nap.config import read"}, "imports config"),
        (upward, {"storage.s3": "from s3nap.sources.mysql import X", "sources.mysql": ""}, "imports sources.mysql"),
        (upward, {"storage": "from .s3 import S3", "storage.s3": ""}, "storage (ground) imports storage.s3"),
        (upward, {"storage.s3": "from ..cli import main"}, "imports cli"),
        (upward, {"errors": "import importlib\nimportlib.import_module('s3nap.cli')"}, "imports cli"),
        (cycles, {"job": "import s3nap.names", "names": "from s3nap import job"}, "cycle: job, names"),
        (cycles, {"a": "import s3nap.b", "b": "import s3nap.c", "c": "import s3nap.a"}, "cycle: a, b, c"),
        (trespassing, {"catalog": "import botocore.config"}, "catalog imports botocore.config: only storage.s3 may"),
        (trespassing, {"storage.local": "from botocore import session"}, "only storage.s3 may"),
        (trespassing, {"restore": "import gnupg"}, "only recipients may"),
        (trespassing, {"config": "from apacheconfig import flavors"}, "only conffile may"),
        (trespassing, {"sources.mysql": "import subprocess as s"}, "only pipeline may"),
        (trespassing, {"cli": "def f():\n    import pty"}, "only pipeline may"),
        (programs, {"cli": "import os\nos.system('x')"}, "cli uses os.system"),
        (programs, {"cli": "import os as o\no.popen('x')"}, "cli uses os.popen"),
        (programs, {"cli": "from os import spawnvp"}, "cli uses os.spawnvp"),
        (programs, {"cli": "import os\nos.posix_spawn('x', [], {})"}, "cli uses os.posix_spawn"),
        (programs, {"cli": "import os\nos.execvp('x', [])"}, "cli uses os.execvp"),
        (
            programs,
            {"cli": "import asyncio\nasyncio.create_subprocess_exec('x')"},
            "cli uses asyncio.create_subprocess",
        ),
        (programs, {"pipeline": "import subprocess\nsubprocess.run('x', shell=True)"}, "pipeline:2 asks for a shell"),
        (programs, {"pipeline": "f(shell=wanted)"}, "asks for a shell"),
        (impure, {"cycle": "import os.path"}, "cycle imports os"),
        (impure, {"plan": "from time import time"}, "plan imports time"),
        (impure, {"forecast": "from datetime import date\ndate.today()"}, "forecast:2 asks for the time"),
        (impure, {"liveness": "import datetime\nx = datetime.datetime.now"}, "liveness:2 asks for the time"),
    ],
)
def test_the_checks_can_fail(check: Callable[[Sources], list[str]], modules: Sources, said: str) -> None:
    """Each rule finds its offender, in every way that an import can be written."""
    assert said in "\n".join(check(modules))


@pytest.mark.parametrize(
    "modules",
    [
        {"cli": "from s3nap.backup import run\nfrom s3nap.storage import Storage\nimport os\nos.getpid()"},
        {"pipeline": "import subprocess, os\nsubprocess.Popen(['x'], shell=False)\nos.posix_spawn('x', [], {})"},
        {"storage.s3": "import botocore.session\nimport botocore.config\nfrom s3nap.storage import Storage"},
        {"plan": "from datetime import date\nfrom s3nap import cycle\ndate(2026, 1, 1)", "cycle": ""},
        {"storage.s3": "from . import Storage", "storage": ""},
    ],
)
def test_the_checks_let_pass_what_is_allowed(modules: Sources) -> None:
    """The rules forbid no more than they say."""
    assert [wrong for check in CHECKS for wrong in check(modules)] == []
