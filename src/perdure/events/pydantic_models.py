"""Pydantic models as events. The only module that imports pydantic; it is loaded for the first model."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, TypeVar, cast, get_args, get_type_hints, is_typeddict

import msgspec
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticInvalidForJsonSchema
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaWarningKind

from perdure.errors import EventDefinitionError, EventEncodingError
from perdure.events.leaves import is_pydantic, leaves_of
from perdure.events.naive_times import refuse_naive
from perdure.events.set_order import with_sorted_sets
from perdure.events.storable import may_stand_for_nan, refuse_nan, refuse_nul
from perdure.events.untyped import ValueChange, changes

_ANYTHING: tuple[Any, ...] = (Any, object, list, dict, set, frozenset, tuple, Sequence, Mapping)
_PERHAPS_DATETIMES: Final = ("datetime", "any", "function-plain", "is-instance")
"""Parts of a schema whose values may be datetimes. Validators and serializers of the user's may hide a type."""


class PydanticCodec:
    """Encodes and decodes the events of one pydantic model in strict mode, so that they come back unchanged."""

    def __init__(self, event_type: str, model: type[BaseModel]) -> None:
        self._holds_sets = _holds_sets(_storable_schema(model))
        self._event_type = event_type
        self._model = model
        self._may_hold_naive = _may_hold_datetime(cast("object", model.__pydantic_core_schema__))
        self._typed = {name for name, field in model.model_fields.items() if not _is_untyped(field.annotation, ())}
        self._has_untyped = len(self._typed) < len(model.model_fields) or model.model_config.get("extra") == "allow"

    def encode(self, event: BaseModel) -> str:
        """Return the event as JSON text. Raises as `checked` does."""
        return self.checked(event)[0]

    def checked(self, event: BaseModel) -> tuple[str, BaseModel]:
        """Return the event as JSON text, and as it is read from that text.

        Raises:
            EventEncodingError: a value can't be stored, or couldn't be read back unchanged.
        """
        try:
            text = event.model_dump_json(by_alias=True, round_trip=True, warnings="error")
            if self._holds_sets:
                text = with_sorted_sets(event, text).decode()
            data = text.encode()
            refuse_nul(self._event_type, data)
            if may_stand_for_nan(data):
                refuse_nan(self._event_type, event.model_dump())
            read = self.decode(text)
        except (msgspec.MsgspecError, TypeError, ValueError, RecursionError) as error:
            if isinstance(error, EventEncodingError):
                raise
            raise EventEncodingError(self._event_type, str(error)) from error
        if self._may_hold_naive:
            refuse_naive(self._event_type, event)
        for name in self._untyped_names(event):
            if change := next(_changes(getattr(event, name), getattr(read, name, None), f".{name}"), None):
                refuse_naive(self._event_type, event)
                raise EventEncodingError(self._event_type, str(change))
        if read != event and (difference := _difference(self.fields(event), self.fields(read))):
            raise EventEncodingError(self._event_type, difference)
        return text, read

    def decode(self, data: str | bytes) -> BaseModel:
        """Return the event encoded as this text. Raise msgspec.ValidationError if it doesn't fit the model."""
        try:
            return self._model.model_validate_json(data, strict=True)
        except ValidationError as error:
            # Without the values, which may be private, because messages end up in logs.
            found = error.errors(include_url=False, include_context=False, include_input=False)
            reasons = [f"{one['msg']} - at `{'.'.join(['$', *map(str, one['loc'])])}`" for one in found]
            raise msgspec.ValidationError("; ".join(reasons)) from error

    def fields(self, event: BaseModel) -> Mapping[str, object]:
        """Return the values of the event by field name."""
        return dict(event)

    def _untyped_names(self, event: BaseModel) -> list[str]:
        return [name for name in dict(event) if name not in self._typed] if self._has_untyped else []


class _Strict(GenerateJsonSchema):
    """Generates JSON schemas, and refuses types that can't be stored, within a union, too."""

    def emit_warning(self, kind: JsonSchemaWarningKind, detail: str) -> None:
        if kind == "skipped-choice":
            raise PydanticInvalidForJsonSchema(detail)


def _storable_schema(model: type[BaseModel]) -> dict[str, Any]:
    """Return the JSON schema of a model. Raise EventDefinitionError if a field can't be stored."""
    if model.__pydantic_root_model__:
        raise EventDefinitionError(model, "a RootModel has no named fields: make it a field of a BaseModel")
    model.model_rebuild()
    try:
        return model.model_json_schema(mode="serialization", schema_generator=_Strict)
    except PydanticInvalidForJsonSchema as error:
        raise EventDefinitionError(
            model,
            f"field {_culprit(model)!r} can't be stored: {error.message}; "
            "use a plain type, or give it a serializer with a return type",
        ) from error


def _holds_sets(schema: object) -> bool:
    """Return whether a part of a JSON schema is an array whose members are unique."""
    if isinstance(schema, dict):
        parts = cast("dict[str, object]", schema)
        return parts.get("uniqueItems") is True or any(map(_holds_sets, parts.values()))
    return isinstance(schema, list) and any(map(_holds_sets, cast("list[object]", schema)))


def _culprit(model: type[BaseModel]) -> str:
    return next((name for name, field in model.model_fields.items() if not _is_storable(field)), "?")


def _is_storable(field: FieldInfo) -> bool:
    adapter = TypeAdapter[Any](cast("Any", field.annotation), config=ConfigDict(arbitrary_types_allowed=True))
    try:
        adapter.json_schema(mode="serialization", schema_generator=_Strict)
    except PydanticInvalidForJsonSchema:
        return False
    return True


def _difference(written: Mapping[str, object], read: Mapping[str, object]) -> str | None:
    changed = [name for name, value in written.items() if name not in read or read[name] != value]
    if changed and all(name in read and _are_same_moments(written[name], read[name]) for name in changed):
        return None
    return f"it wouldn't come back unchanged (check: {', '.join(changed) or 'private attributes'})"


def _are_same_moments(value: object, read: object) -> bool:
    """Return whether values differ only in datetimes, which are the same moments.

    To Python, a time of an hour that a zone has twice, at the end of summer, equals no time of another zone.
    """
    pairs = list(zip(leaves_of(value), leaves_of(read), strict=False))
    differing = [(one.value, other.value) for one, other in pairs if one != other]
    return bool(differing) and all(
        isinstance(one, datetime) and isinstance(other, datetime) and one.astimezone(UTC) == other.astimezone(UTC)
        for one, other in differing
    )


def _may_hold_datetime(schema: object) -> bool:
    """Return whether values of a pydantic schema may contain a datetime. Some parts of a schema don't tell."""
    if isinstance(schema, dict):
        found = cast("dict[str, object]", schema)
        return found.get("type") in _PERHAPS_DATETIMES or any(map(_may_hold_datetime, found.values()))
    return isinstance(schema, list | tuple) and any(map(_may_hold_datetime, cast("list[object]", schema)))


def _is_untyped(annotation: Any, within: tuple[Any, ...]) -> bool:
    if annotation in within:
        return False
    around = (*within, annotation)
    if annotation in _ANYTHING or isinstance(annotation, TypeVar):
        return True
    if is_pydantic(annotation):
        model = cast("type[BaseModel]", annotation)
        is_open = model.model_config.get("extra") == "allow"
        return is_open or any(_is_untyped(field.annotation, around) for field in model.model_fields.values())
    if is_typeddict(annotation) or dataclasses.is_dataclass(annotation):
        return any(_is_untyped(one, around) for one in get_type_hints(annotation).values())
    return any(_is_untyped(one, around) for one in get_args(annotation))


def _changes(value: Any, back: Any, path: str) -> Iterator[ValueChange]:
    if isinstance(value, BaseModel) and type(value) is type(back):
        for name, one in value:
            yield from _changes(one, getattr(back, name), f"{path}.{name}")
    else:
        yield from changes(value, back, path)
