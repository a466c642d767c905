"""A pool of warm guests: guests that are started in advance."""
