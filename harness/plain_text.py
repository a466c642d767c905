"""How is text from outside made fit to be shown, stored and cut? Hosts, tags, files and flags may hold any character.

`printable` is applied inside every way out to people, `well_formed` and `clip` where text from outside comes in.
"""

MOST_CHARACTERS = 500
"""Of one piece of a host's text that becomes a fact, a message or a line of a report."""


def printable(text: str) -> str:
    """Write out whatever steers a terminal or is invisible, as \\x1b or \\u202e.

    Line feeds stay, other white space becomes a space. Written out are the categories Cc, Cf, Cs, Co and Cn of the
    Unicode standard: control characters, format characters (text direction, zero width, tags), surrogates, private
    use, unassigned.
    """
    return "\n".join(line if line.isprintable() else "".join(map(_shown, line)) for line in text.split("\n"))


def well_formed(text: str) -> str:
    """The text without lone surrogates, which no encoding can write: each becomes U+FFFD; pairs are joined."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def clip(text: str, characters: int = MOST_CHARACTERS) -> str:
    """The text, or its beginning and how long the whole is."""
    return text if len(text) <= characters else f"{text[:characters]}... ({len(text)} characters)"


def _shown(character: str) -> str:
    if character.isprintable():
        return character
    return " " if character.isspace() else character.encode("unicode_escape").decode()
