-- Wake who follows the log.
select pg_notify('raw_events', '')
