-- Looks up the ids of appends, and compares what is stored under them. Arguments and results are those of find_appends(),
-- and the types, versions and data of the events. Statuses: 1 = all is stored as one append in its stream, 5 = like 1, but
-- the type, version or text of an event differs, 3 = some ids are stored, but not like that, null = none is stored.
-- Texts may differ for events that are the same. The client decides that, because only it knows aliases and upcasters.
create function {schema}.find_repeats(
    p_stream_ids text[], p_commits integer[], p_event_ids uuid[],
    p_event_types text[], p_event_versions smallint[], p_event_data json[],
    out statuses smallint[], out stream_versions integer[], out global_positions bigint[]
)
language plpgsql volatile
as $$
declare
    differing integer[];
begin
    select f.statuses, f.stream_versions, f.global_positions
    into find_repeats.statuses, find_repeats.stream_versions, find_repeats.global_positions
    from {schema}.find_appends(p_stream_ids, p_commits, p_event_ids) f;
    if 1 = any(statuses) then
        select array_agg(distinct a.commit)
        into differing
        from unnest(p_commits, p_event_types, p_event_versions, p_event_data, find_repeats.global_positions)
            as a (commit, event_type, event_version, event_data, global_position)
        join {schema}.events e on e.global_position = a.global_position
        where find_repeats.statuses[a.commit] = 1
            and (e.event_type, e.event_version, e.event_data::text)
                is distinct from (a.event_type, a.event_version, a.event_data::text);
        for i in 1 .. coalesce(cardinality(differing), 0) loop
            statuses[differing[i]] := 5;
        end loop;
    elsif 3 = any(statuses) then
        -- Appends with an id of their own are repeats even if the number of events differs. So their commit, too, must wait
        -- until a standby has what was found, as in find_appends().
        perform pg_logical_emit_message(true, 'perdure', '');
    end if;
end
$$;
