"""What an engine gets of a runner, where a test drives the engine itself."""

from perdure.projections.engine import EngineHost
from perdure.projections.runtime.reporter import Reporter
from perdure.projections.state.identity import BuildId
from perdure.tasks import Tasks


def no_host(build: BuildId) -> EngineHost:
    """A host whose engine is never told to read again."""
    return EngineHost(Tasks("a test", "test"), Reporter(build), lambda: None)
