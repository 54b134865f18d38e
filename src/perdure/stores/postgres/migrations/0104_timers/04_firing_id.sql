-- Returns the id of the event that a timer fires. It follows from what set the timer, so that no timer fires twice:
-- derived_id() of event_ids.py, whose source is the event that set the timer.
create function {schema}.firing_id(p_name text, p_key text, p_timer text, p_set_by uuid) returns uuid
language plpgsql immutable
as $$
declare
    found bytea := substr(sha256(
        convert_to(p_set_by::text, 'UTF8') || '\x00' || convert_to('timer', 'UTF8')
        || '\x00' || convert_to(p_name, 'UTF8') || '\x00' || convert_to(p_key, 'UTF8') || '\x00' || convert_to(p_timer, 'UTF8')
    ), 1, 16);
begin
    if substr(p_set_by::text, 15, 1) = '7' then
        found := overlay(found placing substr(uuid_send(p_set_by), 1, 6) from 1);
    end if;
    found := set_byte(found, 6, get_byte(found, 6) & 15 | 128);
    found := set_byte(found, 8, get_byte(found, 8) & 63 | 128);
    return encode(found, 'hex')::uuid;
end
$$;
