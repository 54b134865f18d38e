-- The state of projections: builds, segments, runners, parked events, the streams of inline builds, and timers.
grant insert, update, delete on
    {schema}.projections, {schema}.projection_segments, {schema}.projection_runners, {schema}.parked_events,
    {schema}.inline_streams, {schema}.timers
to {role}
