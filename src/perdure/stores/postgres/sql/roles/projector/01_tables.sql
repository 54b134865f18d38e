-- Where projections stand, who runs them, and what they left out.
grant insert, update, delete on
    {schema}.projections, {schema}.projection_segments, {schema}.projection_runners, {schema}.parked_events,
    {schema}.inline_streams
to {role}
