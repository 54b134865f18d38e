"""The records of projections in the database: builds, segments, holds, parked events, failures, the audit log."""
