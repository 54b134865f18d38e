"""Events: their definition, their storage as JSON, and the methods that handle them."""

from perdure.events.definition import event as event
from perdure.events.definition import field as field
from perdure.events.handlers import Handler as Handler
from perdure.events.handlers import check_is_method as check_is_method
from perdure.events.handlers import handlers_of as handlers_of
from perdure.events.handlers import handles as handles
from perdure.events.handlers import keys_of as keys_of
from perdure.events.handlers import marked_methods as marked_methods
from perdure.events.leaves import is_pydantic as is_pydantic
from perdure.events.messages import NewEvent as NewEvent
from perdure.events.messages import StoredEvent as StoredEvent
from perdure.events.metadata import EventMetadata as EventMetadata
from perdure.events.metadata import encode_metadata as encode_metadata
from perdure.events.registry import EventRegistry as EventRegistry
from perdure.events.registry import EventType as EventType
from perdure.events.registry import registry as registry
from perdure.events.stream_id import LONGEST_STREAM_ID as LONGEST_STREAM_ID
from perdure.events.stream_id import check_category as check_category
from perdure.events.stream_id import check_own_category as check_own_category
from perdure.events.stream_id import check_own_stream as check_own_stream
from perdure.events.stream_id import check_stream_id as check_stream_id
from perdure.events.upcasters import check_evolution as check_evolution
from perdure.events.upcasters import upcast as upcast
