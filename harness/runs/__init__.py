"""The application layer: lead runs, qualify and keep hosts, bake images, sweep what is left."""
