"""The evolution gate, from the command line."""

import pytest

from perdure import ANY, PostgreSQLEventStore, event, upcast
from perdure.events import registry
from tests.cli.calling import Call


@pytest.mark.usefixtures("events")
async def test_what_can_be_read_passes(streaming: Call) -> None:
    answer = await streaming("check")

    assert (answer.status, answer.err) == (0, "")
    header, *rows, verdict = answer.out.splitlines()
    assert header.split() == ["type", "version", "stored", "checked", "unreadable"]
    assert rows[-2].split() == ["user.registered", "1", "2", "2", "0"]
    assert verdict == "PASSED: this code can read what is stored (6 events checked)."


async def test_an_empty_log_passes(streaming: Call) -> None:
    answer = await streaming("check")

    assert (answer.status, answer.out) == (0, "PASSED: this code can read what is stored (0 events checked).\n")


@pytest.mark.usefixtures("own_registry", "events")
async def test_what_cannot_be_read_fails_and_the_first_such_event_is_named(
    streaming: Call, store: PostgreSQLEventStore
) -> None:
    @event("seat.lost")
    class SeatLost:
        seat: int

    for seat in range(3):
        await store.append_to_stream("seat-1", ANY, [SeatLost(seat=seat)])

    registry._by_name.pop("seat.lost")

    @event("seat.lost")
    class NewSeatLost:
        seat: str

    answer = await streaming("check", "--samples", "1")
    gate = (await streaming("check", "--all", "--json")).data

    assert answer.status == 1
    assert "- seat.lost in version 1, position 7: event 'seat.lost'" in answer.out
    assert answer.out.endswith("FAILED: 1 problem.\n")
    assert answer.err == "Next: perdure --app examples.streaming:app events show 7\n"
    assert not gate["passed"]
    assert [(one["checked"], one["unreadable"]) for one in gate["types"] if one["reason"]] == [(3, 3)]


@pytest.mark.usefixtures("own_registry", "events")
async def test_a_type_of_other_programs_can_be_ignored(streaming: Call, store: PostgreSQLEventStore) -> None:
    @event("seat.found")
    class SeatFound: ...

    await store.append_to_stream("seat-1", ANY, [SeatFound()])
    registry._by_name.pop("seat.found")

    assert (await streaming("check")).status == 1
    assert (await streaming("check", "--ignore", "seat.found")).status == 0


@pytest.mark.usefixtures("own_registry")
async def test_upcasters_that_are_missing_fail_without_looking_at_the_log(streaming: Call) -> None:
    @event("seat.moved", version=2)
    class SeatMoved: ...

    @upcast("seat.gone", from_version=1)
    def nowhere(data: dict[str, object]) -> dict[str, object]:
        return data

    answer = await streaming("check")

    assert answer.status == 1
    assert "- 'seat.moved' has version 2, but there is no upcaster from version 1" in answer.out
    assert answer.out.endswith("FAILED: 2 problems.\n")
    assert (await streaming("check", "--json")).data["code"][0].startswith("'seat.moved'")


async def test_the_gate_needs_the_application(perdure: Call) -> None:
    answer = await perdure("check")

    assert answer.status == 2
    assert answer.err.endswith("Next: perdure --app module:name check\n")
