"""The ``install`` command: a timer of systemd, or a line for cron, written, looked at or taken away."""

from __future__ import annotations

import contextlib
import os
import pwd
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from s3nap import config, logconfig
from s3nap.confinement import confinement, own_commands
from s3nap.errors import Exit, NothingMatchesError, ProgramError, S3napError, UsageError
from s3nap.job import Conf
from s3nap.namedconfs import FOLDERS, named
from s3nap.placing import Machine, check, ours, unlink, write
from s3nap.schedule import Daily, cron_file, marked, unit_files, unit_name

_AWS = ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE")


def install(  # noqa: PLR0913 - the options
    *,
    name: str | None,
    confs: Sequence[Path],
    root: Path,
    how: str | None,
    dry: bool,
    enable: bool,
    overwrite: bool,
    **chosen: Any,  # noqa: ANN401 - click's options
) -> int:
    """Write the files, or with ``dry`` print them."""
    machine = Machine(root=root.absolute())
    path = _conf(machine, name, confs)
    conf = _loaded(machine, path)
    title = unit_name(path)
    by_cron = _by_cron(machine, how)
    if by_cron and enable:
        raise UsageError("--enable is for systemd: cron needs no more than the file")
    daily = _daily(machine, conf, **chosen)
    if by_cron:
        texts = {cron_file(title): daily.cron()}
    else:
        service, timer = unit_files(title)
        texts = {service: daily.service(), timer: daily.timer()}
    files = {file: marked(text, path, title) for file, text in texts.items()}
    if dry:
        click.echo("\n".join(f"# {file}\n{text}" for file, text in files.items()), nl=False)
        return Exit.DONE
    for file in files:
        check(machine, file, path, overwrite=overwrite)
    write(machine, files)
    for word in _words(conf, daily, by_cron=by_cron):
        click.echo(word)
    if not by_cron:
        _start(machine, title, enable=enable)
    option = "" if machine.this_one else f" --root {shlex.quote(str(machine.root))}"
    click.echo(f"to undo it:      s3nap install --remove {title}{option}")
    return Exit.DONE


def remove(*, name: str | None, confs: Sequence[Path], root: Path, how: str | None, dry: bool) -> int:
    """Take away what ``install`` wrote; the conf need not be there any more."""
    machine = Machine(root=root.absolute())
    if not name and len(confs) != 1:
        raise UsageError("say which: s3nap install --remove NAME, or one -c CONF")
    title = unit_name(Path(name) if name else confs[0])
    service, timer = unit_files(title)
    wanted = {None: (timer, service, cron_file(title)), "systemd": (timer, service), "cron": (cron_file(title),)}[how]
    there = [file for file in wanted if os.path.lexists(machine.path(file))]
    if not there:
        raise NothingMatchesError(f"nothing to remove: there is no {', no '.join(map(str, wanted))}")
    for file in there:
        if not ours(machine, file):
            raise UsageError(f'{file} was not written by "s3nap install": nothing is removed')
    if dry:
        click.echo("".join(f"would remove {file}\n" for file in there), nl=False)
        return Exit.DONE
    if timer in there:
        _stop(machine, timer)
    for file in there:
        unlink(machine, file)
        click.echo(f"removed {file}")
    if machine.this_one and machine.systemd:
        machine.systemctl("daemon-reload")
    return Exit.DONE


# what is to be written


def _conf(machine: Machine, name: str | None, confs: Sequence[Path]) -> Path:
    if len(confs) + bool(name) != 1:
        raise UsageError("say for which conf: s3nap install NAME, or one -c CONF")
    if not name:
        return confs[0].absolute()
    found = named(name, machine.root)
    if found is None:
        raise UsageError(
            f"there is no conf {name} in {' or '.join(map(str, FOLDERS))}: write it first, or give -c CONF"
        )
    return found


def _loaded(machine: Machine, path: Path) -> Conf:
    """Return a conf that is right, for a unit that fails every night helps nobody."""
    loaded = config.load(machine.path(path), on_this_host=machine.this_one, root=machine.root)
    return replace(loaded, file=path)


def _by_cron(machine: Machine, how: str | None) -> bool:
    if how is not None:
        return how == "cron"
    if machine.systemd:
        return False
    if not machine.cron:
        raise S3napError("neither systemd runs here, nor is there /etc/cron.d: say --systemd or --cron to insist")
    click.echo("systemd does not run here: cron will do it", err=True)
    return True


def _daily(  # noqa: PLR0913 - the options
    machine: Machine,
    conf: Conf,
    *,
    at: tuple[int, int],
    spread: int,
    program: Path | None,
    confine: bool | None,
    strict: bool,
) -> Daily:
    words = (str(program),) if program else _this_program()
    home = _home()
    gpg_home = Path(os.environ.get("GNUPGHOME") or home / ".gnupg")
    confined = confinement(
        conf,
        log_folder=_log_folder(machine, conf),
        gpg_home=gpg_home,
        programs=[Path(words[0]), *([] if program else [Path(sys.prefix)])],
        root=machine.root,
    )
    kept = [("HOME", str(home)), *([("GNUPGHOME", str(gpg_home))] if os.environ.get("GNUPGHOME") else [])]
    return Daily(
        conf=conf.file,
        program=words,
        environment=tuple(kept),
        kinds=frozenset(job.kind for job in conf.jobs),
        hour=at[0],
        minute=at[1],
        spread=spread,
        confined=confined if confine or (confine is None and not own_commands(conf)) else [],
        strict=strict,
    )


def _home() -> Path:
    """Return the home of root, who runs it: under sudo HOME may be another's."""
    return Path(pwd.getpwuid(0).pw_dir)


def _this_program() -> tuple[str, ...]:
    program = Path(sys.argv[0]).absolute()
    if program.name == "__main__.py" or not os.access(program, os.X_OK):
        return (sys.executable, "-m", "s3nap")
    return (str(program),)


def _log_folder(machine: Machine, conf: Conf) -> Path | None:
    wanted = machine.path(conf["LogConfig"]) if conf["LogConfig"] else None
    file = logconfig.read(wanted if wanted is None or wanted.exists() else None).file
    return file.path.parent if file.enabled else None


# what is said and done about it


def _words(conf: Conf, daily: Daily, *, by_cron: bool) -> list[str]:
    words = []
    if not by_cron and not daily.confined:
        runs = own_commands(conf)
        why = f"the conf runs commands of its own ({', '.join(runs)}), which may need anything" if runs else "as asked"
        words.append(f"not confined:    {why}" + ("; --confine does it nevertheless" if runs else ""))
    if os.environ.get("HOME", str(_home())) != str(_home()) and "GNUPGHOME" not in os.environ and conf["GpgRecipient"]:
        words.append(f"mind:            HOME is {_home()} then, not {os.environ['HOME']}: gpg looks for the keys there")
    known = [name for name in _AWS if name in os.environ]
    if known and str(conf["Bucket"]).startswith("s3:") and not conf["S3KeyFile"]:
        words.append(f"mind:            {', '.join(known)} of this shell will not be there: use S3KeyFile or ~/.aws")
    if not by_cron and daily.hour * 60 + daily.minute + daily.spread >= 24 * 60:
        words.append("mind:            what begins after midnight counts for the next day: choose an earlier --at")
    return words


def _start(machine: Machine, title: str, *, enable: bool) -> None:
    service, timer = (file.name for file in unit_files(title))
    away = "" if machine.this_one else f"--root={shlex.quote(str(machine.root))} "
    if enable:
        if machine.this_one:
            machine.systemctl("daemon-reload")
        machine.systemctl("enable", *(["--now"] if machine.this_one else []), timer)
        click.echo(f"enabled {timer}")
    elif machine.this_one:
        click.echo(f"to start it:     systemctl daemon-reload && systemctl enable --now {timer}")
    else:
        click.echo(f"to start it:     systemctl {away}enable {timer}")
    if machine.this_one:
        click.echo(f"to run it now:   systemctl start {service}")
        click.echo(f"to look:         systemctl list-timers {timer}; journalctl -u {service}")


def _stop(machine: Machine, timer: Path) -> None:
    if machine.this_one and machine.systemd:
        machine.systemctl("disable", "--now", timer.name)
        with contextlib.suppress(ProgramError):  # it has not failed
            machine.systemctl("reset-failed", timer.with_suffix(".service").name)
    link = timer.parent / "timers.target.wants" / timer.name
    if machine.path(link).is_symlink():
        unlink(machine, link)
