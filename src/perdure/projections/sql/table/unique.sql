-- A constraint of a table: no two rows have these columns in common. It is checked after each statement, not after each
-- row, because rows may pass a value on to each other.
, constraint {constraint} unique ({unique_columns}) deferrable initially immediate
