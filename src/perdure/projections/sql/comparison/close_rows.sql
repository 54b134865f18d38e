-- Close the cursor.
close perdure_rows
