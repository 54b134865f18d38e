-- Check deferred constraints now, so that an error is attributed to the event, or the row, that caused it.
set constraints all immediate
