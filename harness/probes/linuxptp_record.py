"""Parse `linuxptp.json`: which tools of linuxptp the role of that name did not find on the host."""

from harness.errors import ParseError
from harness.probes.reading import json_object

MOST_TOOLS = 20


def parse_missing_tools(text: str, where: str) -> tuple[str, ...]:
    """List the tools without a path. Raises ParseError on other JSON than docs/evidence-format.md describes."""
    try:
        record = json_object(text)
        tools = record["tools"]
        if record["schema"] != 1 or not isinstance(tools, dict) or len(tools) > MOST_TOOLS:
            raise ValueError("unknown schema")
        return tuple(str(name) for name, path in tools.items() if path is None)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        line = text[:200].split("\n")[0]
        raise ParseError(where, 1, line, f"the record of the role linuxptp ({type(error).__name__})") from error
