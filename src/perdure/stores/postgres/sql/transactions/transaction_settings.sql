-- What of the caller's transaction decides whether events may be appended in it, and its mark, which is given the number of
-- the next append: a savepoint that takes back the append takes back the number, too.
-- $1 what the mark begins with, $2 the number
select
    current_setting('transaction_isolation') as isolation,
    current_setting('synchronous_commit') as synchronous_commit,
    mark.found as mark,
    case when starts_with(mark.found, $1) then set_config('perdure.transaction', $1 || $2::int, true) end
from current_setting('perdure.transaction', true) as mark (found)
