-- Make room for the view of another version.
drop view if exists {view}
