-- Up to this position, an owner that didn't release the segment may have called a reaction for events after the
-- checkpoint: the next calls for them may be repeats.
alter table {schema}.projection_segments
    add column repeats_up_to bigint not null default 0
