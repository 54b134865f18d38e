-- Looks up the ids of appends in one statement, however many there are.
-- p_commits names the append of each event by its number in p_stream_ids (1, 2, 3 ...).
-- For each append: statuses 1 = all its ids are stored as one append in its stream, 3 = some are stored, but not like that,
-- null = none is stored; stream_versions: the version of its last stored event. For each event: its position, or null.
create function {schema}.find_appends(
    p_stream_ids text[], p_commits integer[], p_event_ids uuid[],
    out statuses smallint[], out stream_versions integer[], out global_positions bigint[]
)
language plpgsql volatile
as $$
#variable_conflict use_column
begin
    with asked as (
        select a.commit, a.place, e.stream_id, e.stream_version, e.global_position
        from unnest(p_commits, p_event_ids) with ordinality as a (commit, event_id, place)
        -- Each id by itself, in the index: a join that was planned while the log was small would later read all of it.
        left join lateral (
            select e.stream_id, e.stream_version, e.global_position
            from {schema}.events e
            where e.event_id = a.event_id
            limit 1
        ) e on true
    ),
    found as (
        select
            a.commit,
            case
                when count(a.global_position) = 0 then null
                when count(a.global_position) = count(*)
                    and bool_and(a.stream_id = p_stream_ids[a.commit])
                    and min(a.stream_version - a.place) = max(a.stream_version - a.place)
                then 1
                else 3
            end as status,
            max(a.stream_version) as stream_version
        from asked a
        group by a.commit
    )
    select
        array_agg(f.status::smallint order by c.number),
        array_agg(f.stream_version order by c.number),
        (select array_agg(a.global_position order by a.place) from asked a)
    into find_appends.statuses, find_appends.stream_versions, find_appends.global_positions
    from generate_series(1, cardinality(p_stream_ids)) as c (number)
    left join found f on f.commit = c.number;
    -- What was found may exist on this server alone: the server was killed while it wrote it, or the wait for a synchronous
    -- standby was cut short. So a repeat writes something, too: its commit waits until the standby has everything up to here.
    if 1 = any(statuses) then
        perform pg_logical_emit_message(true, 'perdure', '');
    end if;
end
$$;
