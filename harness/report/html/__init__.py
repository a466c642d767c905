"""Write the report as one HTML page that needs nothing else: no network, no script, and hardly any style."""
