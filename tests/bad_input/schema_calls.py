"""The calls of `perdure.schema`, with which a store's schema is kept up."""

from typing import Final

from perdure import ConfigurationError
from tests.bad_input.opening_calls import SCHEMA, URL
from tests.bad_input.table import Call, Table, refused
from tests.bad_input.values import HUGE_TEXT, NOT_A_COUNT, NOT_A_URL, NOT_SECONDS, NOT_TEXT, UNSTORABLE_TEXT, but

ADDRESS: Final = [refused(NOT_A_URL, ConfigurationError, "URL")]
ROLE: Final = [refused([*NOT_TEXT, "", *UNSTORABLE_TEXT, "x" * 64, HUGE_TEXT])]
KIND: Final = [refused([*NOT_TEXT, "", "writers", HUGE_TEXT])]
SECONDS: Final = [refused([*NOT_SECONDS, 0])]

UPKEEP: Final[Table] = {
    "schema.plan": Call(lambda _: {"url": URL}, {"url": ADDRESS, "schema": SCHEMA}),
    "schema.apply": Call(
        lambda _: {"url": URL}, {"url": ADDRESS, "schema": SCHEMA, "lock_timeout": SECONDS, "timeout": SECONDS}
    ),
    "schema.renumber": Call(
        lambda _: {"url": URL}, {"url": ADDRESS, "schema": SCHEMA, "lock_timeout": SECONDS, "timeout": SECONDS}
    ),
    "schema.verify": Call(lambda _: {"url": URL}, {"url": ADDRESS, "schema": SCHEMA}),
    "schema.grants": Call(lambda _: {"url": URL}, {"url": ADDRESS, "schema": SCHEMA}),
    "schema.grant": Call(
        lambda _: {"url": URL, "role": "ann", "kind": "reader"},
        {"url": ADDRESS, "role": ROLE, "kind": KIND, "schema": SCHEMA},
    ),
    "schema.revoke": Call(lambda _: {"url": URL, "role": "ann"}, {"url": ADDRESS, "role": ROLE, "schema": SCHEMA}),
    "schema.grant_script": Call(
        lambda _: {"role": "ann", "kind": "reader"}, {"role": ROLE, "kind": KIND, "schema": SCHEMA}
    ),
    "schema.revoke_script": Call(lambda _: {"role": "ann"}, {"role": ROLE, "schema": SCHEMA}),
    "schema.script": Call(
        lambda _: {}, {"schema": SCHEMA, "namespace": [refused([*but(NOT_A_COUNT, None), 0, 2**15, 736])]}
    ),
}
