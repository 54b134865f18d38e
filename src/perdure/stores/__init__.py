"""The stores: implementations of the port `perdure.store.EventStore`."""
