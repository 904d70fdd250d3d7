"""Which test tries which promise with which faults; the table in docs/promises.md is made of this and of a run.

Each case of a test counts once, or as often as it says by the fixture ``tried``. ``pytest --promises`` writes the table
when the run has ended.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

PAGE = Path(__file__).parent.parent / "docs" / "promises.md"
BEGIN, END = "<!-- table: made by the test run -->", "<!-- end of the table -->"

PROOFS = (
    (1, "dying before and after every storage call", "test_crash::test_a_crash_at_any_storage_call_loses_nothing"),
    (1, "dying at every step in DiffDir", "test_crash::test_a_crash_at_any_step_in_diffdir_loses_nothing"),
    (1, "kill -9", "test_crash::test_a_killed_process_loses_nothing"),
    (1, "dying at each step, by source, type and storage", "test_failpoints::test_dying_at_any_step_loses_nothing"),
    (1, "a disk that hangs, by step", "test_failpoints::test_a_run_that_hangs_at_any_step"),
    (1, "a commit in doubt", "test_crash::test_a_commit_in_doubt_is_settled_by_the_next_run"),
    (1, "dying in prune and rm", "test_prune::test_a_crash"),
    (1, "403 at each request", "test_network::test_a_refusal_at_any_request_loses_nothing"),
    (2, "tar that fails in each way", "test_promises::test_2_a_tar_that_fails_fails_the_job"),
    (2, "gpg that fails at each call", "test_promises::test_2_a_gpg_that_fails_at_any_call_fails_the_job"),
    (2, "programs that are missing", "test_promises::test_2_a_missing_program_fails_and_is_named"),
    (2, "puts that fail in each way", "test_promises::test_1_a_put_that_fails_loses_nothing"),
    (2, "a storage that lists less than was put", "test_crash::test_a_storage_that_lists_less_than_was_put"),
    (2, "a manifest that reads back otherwise", "test_crash::test_a_manifest_that_reads_back_as_something_else"),
    (2, "disks that fail, by step", "test_failpoints::test_a_disk_that_fails_at_any_step_fails_the_run_and_no_more"),
    (3, "made-up histories, all restores compared after each step", "test_state_machine::test_histories"),
    (3, "renames of every kind", "test_state_machine::test_renames"),
    (3, "thirty wild days, forty kinds of edit", "test_thirty_days::"),
    (3, "renames, swaps, inversions, hard links", "test_incremental::test_"),
    (4, "made-up histories", "test_state_machine::test_histories"),
    (4, "network gone at each call", "test_promises::test_1_the_network_going_down_loses_nothing"),
    (4, "manifests that cannot be understood", "test_crash::test_nothing_is_swept_while_a_manifest_cannot_be"),
    (4, "any value anywhere in a manifest", "test_planted_manifests::test_any_value_anywhere_harms_nobody"),
    (4, "planted manifests", "test_succession::test_planted_archives_never_make_a_host_sweep_its_own"),
    (4, "deletes denied or failing", "test_crash::test_denied_deletes_are_tried_again_later"),
    (5, "made-up histories: DiffDir lost, damaged, rolled back", "test_state_machine::test_histories"),
    (5, "damaged copies, notes and ids in DiffDir", "test_crash::test_a_damaged_"),
    (5, "clocks ahead and back", "test_crash::test_a_clock_far_ahead_pushes_nothing_out"),
    (5, "clocks ahead when files change", "test_incremental::test_clock_was_ahead"),
    (5, "two machines of one name", "test_crash::test_two_machines_of_one_name_are_told_apart"),
    (5, "every reason for a FULL", "test_plan::"),
    (6, "files that cannot be read", "test_incremental::test_unreadable_for_a_day"),
    (6, "the same on the command line", "test_promises::test_2_a_file_that_cannot_be_read_is_no_silence"),
    (7, "emptied and shrunken sources, by kind", "test_brake::"),
    (8, "a bit flipped in each byte region of an archive", "test_damage::test_a_flipped_bit_anywhere_is_refused"),
    (8, "objects cut, extended, emptied", "test_damage::test_an_object_cut_extended_or_emptied_is_refused"),
    (8, "objects of other archives in their place", "test_damage::test_objects_of_another_archive_are_refused"),
    (8, "messages cut, joined, never encrypted", "test_envelope::test_a_"),
    (8, "restores through a network that fails", "test_network::test_a_restore_is_exact_or_refused"),
    (8, "the recipe, by kind of damage", "test_recipe::test_damage_is_refused"),
    (
        9,
        "canaries in names and contents, the public key alone",
        "test_promises::test_4_a_host_with_the_public_key",
    ),
    (10, "forged, altered, unsigned, stranger's manifests", "test_signing::"),
    (11, "twenty runs at once", "test_crash::test_twenty_runs_at_once_make_one_archive"),
    (11, "a holder of the lock that is killed", "test_crash::test_a_killed_process_leaves_no_lock"),
    (12, "streams that grow", "test_promises::test_10_memory_does_not_grow_with_data"),
    (12, "an outage without end", "test_network::test_an_outage_without_end_fails_once_and_soon"),
    (
        13,
        "resets, cuts, 500, 503, HTML, silence, flips",
        "test_network::test_a_request_that_fails_in_passing",
    ),
    (13, "the network gone in the middle of an upload", "test_network::test_an_outage_in_mid_upload_is_ridden_out"),
    (14, "keys expired, revoked, ambiguous, missing", "test_envelope::test_an_"),
    (14, "two recipients, each alone", "test_envelope::test_each_of_two_recipients_opens_alone"),
    (15, "mixtures of directives and junk", "test_config::test_any_mixture_is_a_conf_or_faults"),
    (15, "junk of any bytes", "test_conffile::test_any_junk_is_a_tree_or_a_fault"),
    (15, "each fault by file and line", "test_config::test_s37_faults"),
    (16, "names of any bytes", "test_tarindex::"),
    (16, "names that would be commands, in the recipe", "test_recipe::test_hostile_names_neither_break_nor_run"),
    (16, "names in logs", "test_logs::test_hostile_names_stay_in_their_line"),
    (17, "hostile tar streams", "test_gate::test_hostile"),
    (17, "restores that die, or whose disk fails, by step", "test_failpoints::test_a_restore_that_fails_at_any_step"),
    (17, "a tar that dies, or does nothing", "test_failpoints::test_a_tar_that_fails_to_extract_is_no_success"),
    (17, "interrupted restores, done again", "test_resume::"),
    (17, "one file against the whole, by the hundred", "test_looking::test_one_file_is_as_in_the_full_restore"),
    (18, "secrets in every message", "test_logs::test_secrets_reach_no_sink"),
    (18, "confs with secrets in them, stored", "test_confjob::test_a_secret_that_is_named_twice_stays_here"),
    (19, "compressions by encryptions, in an empty environment", "test_recipe::test_a_chain_restores_exactly_without"),
    (20, "buckets of every format so far", "test_frozen::test_an_old_bucket_restores"),
)
"""Promise, faults, and what the names of the tests begin with."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that writes the table."""
    parser.addoption("--promises", action="store_true", help=f"write the table in {PAGE.name} when the run has ended")


@pytest.fixture
def tried(request: pytest.FixtureRequest) -> Callable[[int], None]:
    """Say how many faults a test has tried, where it tries many."""
    return lambda count: request.node.user_properties.append(("tried", count))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Write the table, if that was asked for."""
    if not config.getoption("--promises"):
        return
    reports = [
        report
        for reports in terminalreporter.stats.values()
        for report in reports
        if isinstance(report, pytest.TestReport) and (report.when == "call" or report.failed)
    ]
    before, _, rest = PAGE.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    PAGE.write_text(f"{before}{BEGIN}\n\n{_table(reports)}\n{END}{after}")
    terminalreporter.write_line(f"wrote the table in {PAGE}")


def _table(reports: Iterable[pytest.TestReport]) -> str:
    found: dict[tuple[int, str, str], list[pytest.TestReport]] = defaultdict(list)
    for report in reports:
        name = Path(report.nodeid.partition("::")[0]).stem + "::" + report.nodeid.partition("::")[2]
        for proof in PROOFS:
            if name.startswith(proof[2]):
                found[proof].append(report)
    rows = ["| Promise | Faults tried | How many | Failures | Tests |", "| --- | --- | --: | --: | --- |"]
    for proof in PROOFS:
        tried = sum(map(_tried, found[proof]))
        failed = sum(report.failed for report in found[proof])
        rows.append(f"| P{proof[0]} | {proof[1]} | {tried:,} | {failed} | `{proof[2].removesuffix('::')}` |")
    return "\n".join(rows) + "\n"


def _tried(report: pytest.TestReport) -> int:
    return sum(int(str(value)) for name, value in report.user_properties if name == "tried") or 1
