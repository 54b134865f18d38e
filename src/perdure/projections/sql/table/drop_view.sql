-- Take away a view of the version shown so far.
drop view if exists {view}
