"""Projections that write by themselves: `Projection`, `SQLProjection`. Their checkpoint moves with what they write."""
