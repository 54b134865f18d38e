-- Make room for a view of the same name.
alter view {view} rename to {aside}
