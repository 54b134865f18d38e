-- Take away a view.
drop view if exists {view}
