"""What surrounds an event when it is raised."""

import asyncio
import pickle
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, SafeUUID

import pytest

from perdure import InvalidArgumentError, context, current_context
from perdure.context import Context, current_sources, restored, sources


def test_there_is_nothing_around_at_first() -> None:
    assert current_context() == Context()


def test_blocks_nest_and_end() -> None:
    with context(correlation_id="outer", user_id="ann", headers={"a": "1", "b": "1"}):
        with context(causation_id="inner", user_id="bob", headers={"b": "2"}) as inner:
            assert current_context() == inner == Context("outer", "inner", "bob", {"a": "1", "b": "2"})
        assert current_context() == Context("outer", None, "ann", {"a": "1", "b": "1"})
    assert current_context() == Context()


def test_it_ends_when_the_block_fails() -> None:
    with pytest.raises(ZeroDivisionError), context(user_id="ann"):
        _ = 1 / 0

    assert current_context() == Context()


def test_ids_may_be_uuids() -> None:
    with context(correlation_id=UUID(int=1), causation_id=UUID(int=2), user_id=UUID(int=3)) as here:
        assert here.correlation_id == "00000000-0000-0000-0000-000000000001"
        assert (here.causation_id, here.user_id) == (str(UUID(int=2)), str(UUID(int=3)))


def test_headers_are_copied() -> None:
    headers = {"a": "1"}
    with context(headers=headers):
        headers["a"] = "2"
        assert current_context().headers == {"a": "1"}


@pytest.mark.parametrize("value", ["", "\x00", "a\x00", "\ud800", 1, b"x"])
@pytest.mark.parametrize("argument", ["correlation_id", "causation_id", "user_id"])
def test_what_cant_be_stored_is_refused(argument: str, value: Any) -> None:
    with pytest.raises(InvalidArgumentError) as caught, context(**{argument: value}):
        pass

    assert caught.value.argument == argument


@pytest.mark.parametrize("headers", [{"a": 1}, {1: "a"}, {"a": "\x00"}, {"\ud800": "a"}, {"a": None}])
def test_headers_that_cant_be_stored_are_refused(headers: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="headers"), context(headers=headers):
        pass


async def test_tasks_inherit_it_and_keep_theirs_apart() -> None:
    async def work(name: str) -> Context:
        with context(causation_id=name):
            await asyncio.sleep(0)
            return current_context()

    with context(correlation_id="request"):
        found = await asyncio.gather(work("a"), work("b"))
        assert current_context() == Context("request")

    assert list(found) == [Context("request", "a"), Context("request", "b")]


def test_an_earlier_context_can_be_put_back_in_force() -> None:
    with context(user_id="ann"):
        earlier = current_context()

    with context(user_id="bob", correlation_id="other"):
        with restored(earlier):
            assert current_context() == Context(user_id="ann")
        assert current_context().user_id == "bob"


def test_ids_and_the_time_can_be_taken_from_elsewhere() -> None:
    moment = datetime(2030, 1, 1, tzinfo=UTC)
    real = current_sources()

    with sources(now=lambda: moment):
        assert current_sources().now() == moment
        assert current_sources().new_id is real.new_id
        with sources(new_id=lambda: UUID(int=1)) as inner:
            assert (inner.new_id(), inner.now()) == (UUID(int=1), moment)

    assert current_sources() is real


def test_the_function_and_its_module_share_a_name() -> None:
    import perdure.repository
    from perdure import stores

    assert stores.__name__ == "perdure.stores"
    assert perdure.context is context
    assert perdure.context.__name__ == "context"


def test_a_new_id_is_a_uuid_like_any_other() -> None:
    made = current_sources().new_id()

    assert type(made) is UUID
    assert made.version == 7
    assert made == UUID(str(made)) == pickle.loads(pickle.dumps(made))
    assert hash(made) == hash(UUID(str(made)))
    assert made.is_safe is SafeUUID.unknown


def test_new_ids_count_up() -> None:
    made = [current_sources().new_id() for _ in range(1_000)]

    assert made == sorted(set(made))
