-- The next rows.
fetch {count} from perdure_rows
