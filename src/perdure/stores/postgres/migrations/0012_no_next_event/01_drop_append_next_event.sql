-- Drops what migration 11 made before it was withdrawn: it handed the appended event to those who wait for it.
drop function if exists {schema}.append_next_event(
    text, integer, uuid, text, smallint, json, json, text, bigint, uuid
)
