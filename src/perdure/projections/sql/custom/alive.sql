-- Say that the process lives, so that the server doesn't end its transaction.
select true
