-- Returns the stream of a process's instance, for what happens to it: timers that fire, commands that are refused.
-- A key that a stream id can't hold is replaced by a hash. process_stream.py makes the same ids.
create function {schema}.process_stream(p_name text, p_key text) returns text
language plpgsql immutable
as $$
declare
    readable constant text := 'process-' || p_name || '.' || p_key;
begin
    if char_length(readable) <= 512 and readable !~ '[\x01-\x1f\x7f]' then
        return readable;
    end if;
    return 'process-' || regexp_replace(left(p_name, 100), '[\x01-\x1f\x7f]', '_', 'g') || '.'
        || encode(sha256(convert_to(p_name, 'UTF8') || '\x00' || convert_to(p_key, 'UTF8')), 'hex');
end
$$;
