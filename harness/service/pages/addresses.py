"""Write addresses of pages with their queries."""

from urllib.parse import quote, urlencode


def with_query(path: str, **values: object) -> str:
    """Write a path with the values that are there; None and "" are left out."""
    query = urlencode([(name, str(value)) for name, value in values.items() if value not in (None, "")])
    return f"{path}?{query}" if query else path


def run_path(run: str) -> str:
    """Write the address of a run's page."""
    return f"/runs/{quote(run, safe='')}"


def host_path(run: str, host: str) -> str:
    """Write the address of a host's page."""
    return f"{run_path(run)}/hosts/{quote(host, safe='')}"


def stream_path(stream: str) -> str:
    """Write the address of a watched clock's page. Its name may have slashes."""
    return f"/watch/streams/{quote(stream)}"
