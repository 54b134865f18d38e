-- There are no more of them.
close perdure_rows
