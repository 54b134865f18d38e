-- What a row of the list of builds is: a projection, or a reaction, relay or process, which is never built again from the
-- beginning of the log. And the position after which its first build began, with the event there if one was read.
alter table {schema}.projections
    add column kind text not null default 'projection'
        check (kind in ('projection', 'reaction', 'relay', 'process')),
    add column start_position bigint not null default 0,
    add column start_event_id uuid
