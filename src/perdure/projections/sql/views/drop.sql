-- Drop a view.
drop view if exists {view}
