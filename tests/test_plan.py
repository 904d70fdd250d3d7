"""What a run decides and the reasons it gives: one test a rule, one a reason."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from archives import DAILY, NAME, OURS, THEIRS, after, archive, cycle_from, days, made, marked, plan

from s3nap.cycle import Cycle, HanoiCycle, day_number
from s3nap.manifest import Archive, Encryption, Type
from s3nap.plan import Task, task_record

WEEKLY = cycle_from(frequency=7, diffs=3, fulls=2)


def said(task: Task) -> str:
    return f"{task.action} {task.slot}-{task.type}: {task.reason}"


def test_a_full_that_is_due() -> None:
    """The plain case has a plain reason."""
    assert said(plan([], 0)) == "backup 0-FULL: due"


def test_a_diff_names_the_day_it_builds_on() -> None:
    """Only the newest archive whose state is ours can be the parent."""
    task = plan(days(2), 2)
    assert said(task) == "backup 2-DIFF: due; changes since 2024-01-08"
    assert task.parent == days(2)[1]


def test_an_undisturbed_rotation_follows_the_formulas() -> None:
    """Every promotion costs a whole backup; none may happen without a cause."""
    kept = days(60)
    assert [(item.manifest.slot, item.manifest.type) for item in kept] == [
        (n % 28, Type.DIFF if n % 7 else Type.FULL) for n in range(60)
    ]


def test_what_is_done_is_skipped() -> None:
    """The second start on a day makes no second archive."""
    (done,) = days(1)
    assert said(plan([done], 0)) == (
        f"skip 0-FULL: already done on 2024-01-07 ({done.run}); next due on 2024-01-08, -f runs it again"
    )


def test_what_is_done_for_the_turn_is_skipped_until_the_next() -> None:
    """With Frequency 7 the six days after are not missed days."""
    (done,) = days(1, WEEKLY)
    for n in range(1, 7):
        assert said(plan([done], n, WEEKLY)).startswith(
            f"skip 0-FULL: already done on 2024-01-07 ({done.run}); next due"
        )
    assert plan([done], 7, WEEKLY).action == "backup"


def test_done_shows_the_type_that_was_made() -> None:
    """A promoted FULL that is shown as the DIFF it should have been would mislead."""
    promoted = archive(after(1), 1)
    assert said(plan([promoted], 1)).startswith("skip 1-FULL: already done")


def test_force_runs_what_is_done() -> None:
    """-f makes another archive of the same slot, on top of the first where a DIFF is due."""
    kept = days(2)
    assert said(plan(kept, 1, force=True)) == (
        f"backup 1-DIFF: forced; already done on 2024-01-08 ({kept[1].run}); changes since 2024-01-08"
    )


def test_damage_undoes_done() -> None:
    """A turn whose only archive cannot be restored is not done, or its day would be lost unnoticed."""
    full, diff = days(2)
    bad = marked(diff, "distrust")
    assert said(plan([full, bad], 1)) == (
        f"backup 1-FULL: again; the archive of 2024-01-08 ({diff.run}) is distrusted; FULL instead of DIFF: "
        f"the archive of 2024-01-08 ({diff.run}) is distrusted"
    )
    assert plan([diff], 1).reason.startswith(
        f"again; the chain of the archive of 2024-01-08 ({diff.run}) is incomplete"
    )
    sound = archive(after(1), 1, number=1)
    assert plan([full, sound, archive(after(1), 1, number=2, marks="distrust")], 1).action == "skip"


def test_done_by_another_machine_is_not_done() -> None:
    """What the other machine backed up is not what is on this one."""
    assert plan([archive(after(0), 0, machine=THEIRS)], 0).action == "backup"


def test_without_catch_up_what_is_not_due_is_skipped() -> None:
    """CatchUp Off is the original's way: only the due day counts."""
    assert said(plan([], 3, WEEKLY, catch_up=False)) == "skip 0-FULL: not due; next due on 2024-01-14"
    assert plan([], 7, WEEKLY, catch_up=False).action == "backup"


def test_a_missed_turn_is_made_up_in_its_slot() -> None:
    """One bad night with Frequency 7 must not cost a week."""
    kept = days(1, WEEKLY)
    task = plan(kept, 9, WEEKLY)
    assert said(task) == "backup 1-DIFF: makes up for 2024-01-14; changes since 2024-01-07"
    assert plan([*kept, made(task)], 10, WEEKLY).action == "skip"


def test_the_first_archive_does_not_wait_for_its_due_day() -> None:
    """A new job unprotected for up to Frequency days would surprise."""
    assert said(plan([], 3, WEEKLY)) == "backup 0-FULL: first archive"
    theirs = archive(after(0), 0, machine=THEIRS)
    assert plan([theirs], 3, WEEKLY).reason == "first archive of this machine"


def test_force_on_a_day_not_due_uses_the_running_turn() -> None:
    """-f between two turns belongs to the one that began."""
    task = plan([], 10, WEEKLY, catch_up=False, force=True)
    assert said(task) == (
        "backup 1-FULL: forced; not due, runs the turn of 2024-01-14; FULL instead of DIFF: no archive yet"
    )
    assert plan([], 10, WEEKLY, force=True).turn == task.turn == WEEKLY.turn(day_number(after(7)))


def promotion(archives: Sequence[Archive], day: int, cycle: Cycle = DAILY, **facts: Any) -> str:
    """Why the DIFF of the day becomes a FULL; its slot stays."""
    task = plan(archives, day, cycle, **facts)
    assert (task.action, task.type, task.parent) == ("backup", Type.FULL, None)
    assert task.slot == cycle.slot(cycle.turn(day_number(after(day))))
    head, _, reason = task.reason.partition("; FULL instead of DIFF: ")
    assert head == "due"
    return reason


def test_first_archive_on_a_diff_slot_is_a_full() -> None:
    """The original called a complete dump a DIFF and had no FULL until the next FULL slot."""
    assert promotion([], 2) == "no archive yet"


def test_first_archive_of_a_rebuilt_machine_is_a_full() -> None:
    """Another machine's archives are never parents, even if the state came along."""
    theirs = [archive(after(0), 0, machine=THEIRS)]
    assert promotion(theirs, 2, state_id=theirs[0].manifest.state_id) == "no archive of this machine yet"


def test_lost_state_makes_a_full() -> None:
    """Without the state nobody knows what changed."""
    (full,) = days(1)
    lost = f"this machine's state is lost; the last archive is of 2024-01-07 ({full.run})"
    assert promotion([full], 1, state_id=None) == lost


def test_a_state_that_matches_no_archive_makes_a_full() -> None:
    """A DiffDir restored from a backup, or of a run that was never committed, leads to a gap in the chain."""
    (full,) = days(1)
    reason = f"the state matches no archive; the last one is of 2024-01-07 ({full.run})"
    assert promotion([full], 1, state_id="other") == reason


def test_an_older_state_builds_on_its_own_archive() -> None:
    """Where the newest run died before its state was installed the DIFF must build on what the state knows."""
    full, diff = days(2)
    assert plan([full, diff], 2, state_id=full.manifest.state_id).parent == full


def test_the_state_of_another_machine_makes_a_full() -> None:
    """A copied DiffDir must not chain two machines' archives together."""
    theirs = archive(after(0), 0, machine=THEIRS)
    ours = archive(after(1), 1)
    reason = f"the state is that of machine {THEIRS}, archive of 2024-01-07 ({theirs.run})"
    assert promotion([theirs, ours], 2, state_id=theirs.manifest.state_id) == reason


def test_a_distrusted_parent_makes_a_full() -> None:
    """What builds on damage is damaged."""
    full, diff = days(2)
    reason = f"the archive of 2024-01-08 ({diff.run}) is distrusted"
    assert promotion([full, marked(diff, "distrust")], 2) == reason


def test_a_distrusted_ancestor_makes_a_full() -> None:
    """The base of the parent counts as much as the parent."""
    full, diff = days(2)
    reason = f"the archive of 2024-01-08 ({diff.run}) builds on that of 2024-01-07 ({full.run}), which is distrusted"
    assert promotion([marked(full, "distrust"), diff], 2) == reason


def test_an_incomplete_chain_makes_a_full() -> None:
    """A base deleted by hand is noticed on the next day, not at the restore."""
    full, diff = days(2)
    reason = f"the chain of the archive of 2024-01-08 ({diff.run}) is incomplete: {full.run} is missing"
    assert promotion([diff], 2) == reason


def test_changed_options_make_a_full() -> None:
    """A DIFF with another Exclude would restore what was never meant to be there, or lose what was."""
    (full,) = days(1)
    reason = f"Exclude or other options changed since 2024-01-07 ({full.run})"
    assert promotion([full], 1, options="Exclude more") == reason


def test_changed_recipients_make_a_full() -> None:
    """Who was added must be able to open the whole chain; the order of the directives does not matter."""
    two = Encryption(method="recipients", recipients=("A", "B"))
    full = archive(after(0), 0, encryption=two)
    changed = Encryption(method="recipients", recipients=("A", "C"))
    assert promotion([full], 1, encryption=changed) == f"GpgRecipient changed since 2024-01-07 ({full.run})"
    turned = Encryption(method="recipients", recipients=("B", "A"))
    assert plan([full], 1, encryption=turned).parent == full


def test_changed_encryption_makes_a_full() -> None:
    """A chain half plain and half encrypted would pass for encrypted."""
    (full,) = days(1)
    reason = f"encryption changed from none to passphrase since 2024-01-07 ({full.run})"
    assert promotion([full], 1, encryption=Encryption(method="passphrase")) == reason


def test_a_missed_full_is_made_up_by_the_next_run() -> None:
    """DIFFs of a round that hang on the last round's FULL would keep it alive beyond Fulls + 1 chains."""
    kept = days(7)
    assert promotion(kept, 8) == "the FULL due on 2024-01-14 is missing; the last FULL is of 2024-01-07"


def test_a_promoted_full_carries_the_rest_of_its_round() -> None:
    """Else one missed Sunday would mean six FULLs."""
    kept = days(7)
    kept.append(made(plan(kept, 8)))
    task = plan(kept, 9)
    assert (task.type, task.parent) == (Type.DIFF, kept[-1])


def test_full_asked_for() -> None:
    """--full starts a new chain on any day, and says who wanted it."""
    assert said(plan(days(1), 1, full=True)) == "backup 1-FULL: due; FULL asked for by --full"


@pytest.mark.parametrize("cycle", [cycle_from(diffs=0, fulls=3), HanoiCycle()])
def test_kinds_without_diffs_are_always_full(cycle: Cycle) -> None:
    """Databases have no state, and its absence is no cause for alarm."""
    for n in range(20):
        task = plan(days(n, cycle), n, cycle, state_id=None)
        assert (task.type, task.reason) == (Type.FULL, "due")


def test_taking_over_is_said_once() -> None:
    """The administrator of a rebuilt host must learn what became of the old archives, but not every night."""
    old = [archive(after(n), n, machine=THEIRS) for n in (0, 1)]
    task = plan(old, 2)
    assert (task.notes, task.warnings) == ((f"machine {OURS} takes over the 2 archives of {THEIRS}",), ())
    later = plan([*old, made(task)], 3)
    assert (later.notes, later.warnings) == ((), ())
    assert plan([], 0).notes == ()


def test_two_machines_under_one_name_are_reported() -> None:
    """Two machines that share a catalog cost double, and someone must be told what to do, on every day."""
    both = [archive(after(0), 0), archive(after(1), 0, machine=THEIRS)]
    warning = (
        f"machines {OURS} (this one) and {THEIRS} both back up as host alpha: set Host to another name on one of them"
    )
    assert plan(both, 2).warnings == (warning,)
    assert plan([*both, archive(after(2), 2)], 2).warnings == (warning,)  # a skip warns as well


def test_a_brake_is_reported_until_released() -> None:
    """A suspiciously small archive must stay in view until someone decided."""
    full, small = archive(after(0), 0), archive(after(1), 1, brake="2 files after 4711")
    warning = (
        f"the archive of 2024-01-08 ({small.run}) looks wrong: 2 files after 4711; what is older is kept until you "
        f"accept it: s3nap release {NAME}"
    )
    assert plan([full, small], 1).warnings == plan([full, small], 9).warnings == (warning,)
    assert "(and 1 before it) looks wrong: empty" in plan([small, archive(after(2), 2, brake="empty")], 3).warnings[0]
    assert plan([full, marked(small, "released")], 9).warnings == ()


def test_the_brake_of_another_machine_is_not_ours_to_release() -> None:
    """Nothing of ours hangs on it, and the one warning about two machines says what to do."""
    both = [archive(after(0), 0), archive(after(1), 0, machine=THEIRS, brake="empty")]
    assert len(plan(both, 2).warnings) == 1


def test_the_record_of_a_task() -> None:
    """Plan --json is an interface: these fields and no others."""
    assert task_record(plan([], 0)) == {
        "day": "2024-01-07",
        "job": NAME,
        "slot": 0,
        "type": "FULL",
        "action": "backup",
        "reason": "due",
    }
