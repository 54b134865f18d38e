"""W11r: the log relayed to NATS JetStream, held against what the client of NATS can publish by itself."""

import nats
from nats.aio.client import Client

from benchmarks.nats_server import nats_server
from benchmarks.sizes import Sizes
from benchmarks.systems.perdure import Perdure
from benchmarks.systems.system import System
from benchmarks.workloads.catch_up import OnLog
from benchmarks.workloads.workload import Case, Sample, expect, measured
from perdure import Message

CLIENT, RELAY = "the client of NATS, pipelined", "the relay"
_SUBJECT = "views"
_PENDING = 4000
"""How many messages of the client wait for their confirmation, as by its own default."""
_MOST = 50_000


class Relaying(OnLog):
    """The client publishes the same messages, made before the clock starts. It keeps no order of keys."""

    key = "W11r"
    title = "Relay the log to NATS JetStream"
    compares_cases = True

    def __init__(self, system: System, sizes: Sizes) -> None:
        super().__init__(system, sizes._replace(log=min(sizes.log, _MOST)))
        self._messages: list[Message] = []

    @classmethod
    def cases(cls, sizes: Sizes) -> list[Case]:  # noqa: ARG003 - they are the same for every size
        return [Case(CLIENT), Case(RELAY)]

    async def prepare(self) -> None:
        await super().prepare()
        self._messages = await self._perdure.messages(_SUBJECT)
        expect("number of messages", len(self._messages), len(self.events))

    async def run(self, case: Case, run: int) -> Sample:
        with nats_server() as address:
            client = await nats.connect(address)
            stream = client.jetstream()
            await stream.add_stream(name="VIEWS", subjects=[_SUBJECT])
            pairs = [(one.data, one.headers("ce-") | {"Nats-Msg-Id": str(one.event_id)}) for one in self._messages]
            with measured(self.system.place) as meter:
                if case.name == CLIENT:
                    await _publish(client, pairs)
                else:
                    await self._perdure.relay(f"relay_{run}", client, _SUBJECT)
            found = (await stream.stream_info("VIEWS")).state.messages
            await client.close()
        expect("messages in JetStream", found, len(self.events))
        return meter.rate(len(self.events))

    @property
    def _perdure(self) -> Perdure:
        assert isinstance(self.system, Perdure)
        return self.system


async def _publish(client: Client, pairs: list[tuple[bytes, dict[str, str]]]) -> None:
    stream = client.jetstream(publish_async_max_pending=_PENDING)
    for data, headers in pairs:
        _ = await stream.publish_async(_SUBJECT, data, headers=headers)
    await stream.publish_async_completed()
