"""The servers that tests make, kill and promote do what their names say."""

import asyncio
import socket

import pytest

from tests.cluster import free_port, servers, url_of

pytestmark = pytest.mark.server  # the tests start servers of their own


async def test_a_synchronous_standby_has_what_the_primary_had_when_it_was_killed() -> None:
    async with servers() as cluster:
        primary = await cluster.primary()
        standby = await cluster.standby_of(primary, synchronous=True)
        await primary.execute("create table numbers as select 1 as number")
        await primary.kill()
        assert primary.processes == []
        await standby.promote()
        await standby.execute("insert into numbers values (2)")
        await primary.start()

        assert await standby.value("select count(*) from numbers") == 2
        assert await primary.value("select count(*) from numbers") == 1


async def test_a_standby_that_was_cut_off_lags_behind() -> None:
    async with servers() as cluster:
        primary = await cluster.primary()
        standby = await cluster.standby_of(primary)
        await primary.execute("create table numbers as select 1 as number")
        await standby.caught_up(primary)
        await standby.cut_off()
        await primary.execute("insert into numbers values (2)")

        assert await standby.value("select count(*) from numbers") == 1
        assert await primary.value("select count(*) from numbers") == 2


async def test_a_frozen_server_is_silent_until_it_thaws() -> None:
    async with servers() as cluster:
        primary = await cluster.primary()
        primary.freeze()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(primary.connect(), 0.2)
        primary.thaw()

        assert await primary.value("select 1") == 1


async def test_a_url_names_all_servers() -> None:
    async with servers() as cluster:
        one, other = await cluster.primary("one"), await cluster.primary("other")

    assert url_of(one, other, database="shop", target_session_attrs="read-write") == (
        f"postgresql://postgres@127.0.0.1:{one.port},127.0.0.1:{other.port}/shop?target_session_attrs=read-write"
    )


async def test_a_free_port_is_taken_by_no_other_and_may_be_listened_on_again_and_again() -> None:
    port = free_port()
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(("127.0.0.1", port))
    for _ in range(2):
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
        server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", port)
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()
