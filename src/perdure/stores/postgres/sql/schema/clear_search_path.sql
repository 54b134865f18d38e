-- Have every name in a definition qualified with its schema.
select set_config('search_path', '', true)
