-- The timers of processes: those that are set, and haven't fired. A process sets, replaces and cancels them in the
-- transaction that writes its rows and its checkpoint. Rows come and go, so they are vacuumed soon.
create table {schema}.timers (
    -- The process, and the key of its instance as JSON.
    name text collate "C" not null,
    key text collate "C" not null,
    -- The name that the process gave the timer. Setting it again replaces it.
    timer text collate "C" not null,
    due_at timestamptz not null,
    -- The event that set it. The id of its firing follows from it.
    set_by uuid not null,
    -- What the process gets back when the timer fires.
    data json not null default 'null',
    primary key (name, key, timer),
    -- So that every timer fits the index and the event of its firing.
    constraint timers_storable check (
        octet_length(key) <= 2000
        and octet_length(timer) between 1 and 200
        and due_at >= '0001-01-01 00:00:00+00'
        and due_at < '10000-01-01 00:00:00+00'
    )
) with (
    fillfactor = 70,
    autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0.01,
    autovacuum_vacuum_insert_threshold = 10000, autovacuum_vacuum_insert_scale_factor = 0.05
);
