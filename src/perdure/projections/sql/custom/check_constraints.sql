-- Check now what would be checked at the end of the transaction, so that an error is its event's.
set constraints all immediate
