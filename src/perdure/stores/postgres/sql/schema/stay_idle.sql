-- Let the session that guards a migration be idle in its transaction until the migration ends.
select set_config('idle_in_transaction_session_timeout', '0', true)
