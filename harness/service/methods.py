"""The methods of HTTP that the service knows, and those that change nothing (RFC 9110, section 9.2.1)."""

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
CHANGES_NOTHING = ("GET", "HEAD", "OPTIONS")
