"""What the database knows of projections: builds, segments, holds, parked events, failures, the audit log."""
