-- Let the session that guards a migration be idle in its transaction for as long as that takes.
select set_config('idle_in_transaction_session_timeout', '0', true)
