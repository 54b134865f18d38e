-- A timestamp in the form in which rows are loaded: in UTC, whatever the session's time zone.
to_char(t.{column} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as {column}
