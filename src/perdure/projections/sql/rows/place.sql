-- Those of the rows that an index scan finds without a filter: there is one place for each column of the cursor.
(
    select {place} as place, row_number() over (order by {order}) as number,
        (select row_to_json(stored.*) from (select {loaded}) as stored) as one
    from {view} as t
    where {conditions}
    order by {order}
    limit $4
)
