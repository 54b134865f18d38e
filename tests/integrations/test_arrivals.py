"""The judge of arrivals finds each thing that can go wrong, and nothing else."""

from uuid import UUID

import pytest

from tests.integrations.arrivals import judged
from tests.integrations.messages import messages

SENT = messages(6, keys=2)
IDS = [one.event_id for one in SENT]
STRANGER = UUID(int=7)


@pytest.mark.parametrize("arrived", [IDS, [IDS[1], *IDS[3:4], IDS[0], IDS[2], IDS[5], IDS[4]]], ids=["same", "keys"])
def test_the_order_of_keys_is_enough(arrived: list[UUID]) -> None:
    assert not judged(SENT, arrived)


@pytest.mark.parametrize(
    ("arrived", "wrong", "found"),
    [
        (IDS[:3] + IDS[4:], "lost", [IDS[3]]),
        ([*IDS, IDS[0]], "doubled", [IDS[0]]),
        ([IDS[2], IDS[0], IDS[1], *IDS[3:]], "disordered", [IDS[0]]),
        ([*IDS, STRANGER], "unknown", [STRANGER]),
    ],
    ids=["lost", "doubled", "disordered", "unknown"],
)
def test_what_is_wrong_is_found(arrived: list[UUID], wrong: str, found: list[UUID]) -> None:
    judgement = judged(SENT, arrived)

    assert getattr(judgement, wrong) == found
    assert not judgement._replace(**{wrong: ()})
