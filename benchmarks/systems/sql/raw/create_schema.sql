-- A place beside the store's.
create schema if not exists raw
