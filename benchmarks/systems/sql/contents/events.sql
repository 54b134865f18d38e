-- All that was written, for verification.
select stream_id, {version}, {data} from {table} order by stream_id, {version}
