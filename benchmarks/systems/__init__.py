"""The systems under test, in the order in which they take turns."""

from importlib import import_module

from benchmarks.systems.perdure import Perdure, PerdureWithoutTurns
from benchmarks.systems.raw import Raw, RawInsert, RawNotify, RawUnnest, RawUnnestNotify
from benchmarks.systems.system import System
from benchmarks.systems.tutorial import Tutorial

OURS: tuple[type[System], ...] = (
    Raw,
    RawUnnest,
    RawInsert,
    RawNotify,
    RawUnnestNotify,
    Tutorial,
    Perdure,
    PerdureWithoutTurns,
)


def peers() -> tuple[type[System], ...]:
    """The other stores, which must be installed: `make bench PEERS=1` does it."""
    return tuple([import_module(f"benchmarks.systems.{name}").Peer for name in ("eventsourcing", "umadb")])


def system_named(name: str) -> type[System]:
    """The system of that name."""
    for system in OURS:
        if system.name == name:
            return system
    return next(system for system in peers() if system.name == name)
