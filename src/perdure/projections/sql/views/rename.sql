-- Rename a view, to create another one of its name.
alter view {view} rename to {name}
