-- For a script: its number was drawn without access to the database, so it may be taken.
do $check$
declare
    owner text;
begin
    perform pg_advisory_xact_lock(739, 0);
    select other.name into owner
    from ({numbers}) mine
    join ({numbers}) other on other.number = mine.number and other.oid <> mine.oid
    where mine.name = '{schema_name}'
    limit 1;
    if owner is not null then
        raise exception 'schema % has the number {namespace}, too, which sets the locks of a store apart', owner
            using errcode = 'PD006', hint = 'Print the script again: it draws another number.';
    end if;
end
$check$
