-- The state of projections: builds, segments, runners, parked events, and the streams of inline builds.
grant insert, update, delete on
    {schema}.projections, {schema}.projection_segments, {schema}.projection_runners, {schema}.parked_events,
    {schema}.inline_streams
to {role}
