-- What find_append() tells of one commit, for all commits of a batch at once: one statement, however many ids there are.
-- Events name their commit by its number in p_stream_ids (1, 2, 3 ...), as in append_batch().
-- For each commit: statuses 1 = all its ids are stored as one append in its stream, 3 = some are stored, but not so,
-- null = none is stored; stream_versions: of the last stored event. For each event: its position, null where none is stored.
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
        -- Each by itself, in the index: a join's plan that was made while the log was small would read all of it later.
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
end
$$;
