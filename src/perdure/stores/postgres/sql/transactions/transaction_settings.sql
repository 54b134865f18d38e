-- The settings of the caller's transaction that decide whether events may be appended in it, and its mark. The mark is given
-- the number of the next append: a rollback to a savepoint that undoes the append also undoes the number.
-- $1 prefix of the mark, $2 the number
select
    current_setting('transaction_isolation') as isolation,
    current_setting('synchronous_commit') as synchronous_commit,
    mark.found as mark,
    case when starts_with(mark.found, $1) then set_config('perdure.transaction', $1 || $2::int, true) end
from current_setting('perdure.transaction', true) as mark (found)
