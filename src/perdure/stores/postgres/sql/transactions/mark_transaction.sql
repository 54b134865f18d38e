-- Mark the transaction, until it ends. $1 mark
select set_config('perdure.transaction', $1, true)
