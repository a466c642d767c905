"""The pages of the service: made on the server, readable without scripts, and live with them."""
