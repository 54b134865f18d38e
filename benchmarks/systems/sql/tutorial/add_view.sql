-- Count a view of a title.
insert into {table} as t (content_id, views, seconds) values ($1, 1, $2)
on conflict (content_id) do update set views = t.views + 1, seconds = t.seconds + excluded.seconds
