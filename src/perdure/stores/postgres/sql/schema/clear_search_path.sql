-- Let every name in a definition bear its schema.
select set_config('search_path', '', true)
