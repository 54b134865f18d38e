"""The engine of `Projection` and `SQLProjection`, whose handlers write in the transaction of the checkpoint."""
