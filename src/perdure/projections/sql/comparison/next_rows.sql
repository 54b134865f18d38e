-- Fetch the next rows from the cursor.
fetch {count} from perdure_rows
