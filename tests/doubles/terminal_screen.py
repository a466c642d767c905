"""A terminal of a fixed size that refuses every control sequence which `show --watch` does not need."""

import re

_TOKEN = re.compile(r"\x1b(?:\[[0-9;?]*)?(?=\x1b)|\x1b\[[0-9;?]*[A-Za-z]|\x1b.?|[^\x1b]")
_CUT = re.compile(r"\x1b(?:\[[0-9;?]*)?")
"""A sequence that another one cuts off: at Ctrl-C a terminal's driver drops what was not shown yet."""
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class TerminalScreen:
    """Two screens of `columns` times `rows`, and whether the cursor is shown. Text may come in any pieces."""

    def __init__(self, columns: int, rows: int) -> None:
        self.columns, self.rows = columns, rows
        self.cursor_shown, self.colours, self.drawings, self.entered = True, 0, 0, 0
        self._scrolled: list[str] = []
        self._screens = [self._empty(), self._empty()]
        self._other, self._x, self._y, self._saved, self._waiting = 0, 0, 0, (0, 0), ""

    @property
    def on_other_screen(self) -> bool:
        return self._other == 1

    def text(self) -> str:
        """What is on the screen, and on the usual one also what scrolled out of it; without spaces at the ends."""
        lines = ["".join(row).rstrip() for row in self._screens[self._other]]
        return "\n".join([*([] if self._other else self._scrolled), *lines]).rstrip("\n")

    def resize(self, columns: int, rows: int) -> None:
        """Take another size; what was on both screens stays as far as there is room, as terminals do."""
        self.columns, self.rows = columns, rows
        for number, before in enumerate(self._screens):
            self._screens[number] = self._empty()
            for row, line in zip(self._screens[number], before, strict=False):
                row[: len(line)] = line[:columns]
        self._x, self._y = min(self._x, columns), min(self._y, rows - 1)
        self._saved = min(self._saved[0], columns), min(self._saved[1], rows - 1)

    def feed(self, text: str) -> None:
        """Show text. A sequence that is not complete waits for the rest. Raises AssertionError for an unknown one."""
        text, self._waiting = self._waiting + text, ""
        if match := re.search(r"\x1b(\[[0-9;?]*)?\Z", text):
            text, self._waiting = text[: match.start()], match[0]
        for token in _TOKEN.findall(text):
            self._show(token)

    def _show(self, token: str) -> None:
        if _COLOUR.fullmatch(token):
            self.colours += 1
            return
        if _CUT.fullmatch(token):
            return
        row = self._screens[self._other][self._y]
        match token:
            case "\x1b[?1049h":
                self._saved, self._other = (self._x, self._y), 1
                self.entered += 1
            case "\x1b[?1049l":
                self._other, (self._x, self._y) = 0, self._saved
            case "\x1b[?25l" | "\x1b[?25h":
                self.cursor_shown = token.endswith("h")
            case "\x1b[2J":
                self._screens[self._other] = self._empty()
            case "\x1b[H":
                self._x, self._y = 0, 0
                self.drawings += 1
            case "\x1b[K":
                row[self._x :] = " " * (self.columns - self._x)
            case "\x1b[J":
                row[self._x :] = " " * (self.columns - self._x)
                for below in self._screens[self._other][self._y + 1 :]:
                    below[:] = " " * self.columns
            case "\r":
                self._x = 0
            case "\n":
                self._down()
            case _:
                assert token.isprintable(), f"a sequence that is not needed: {token!r}"
                self._put(token)

    def _put(self, character: str) -> None:
        if self._x == self.columns:
            self._x = 0
            self._down()
        self._screens[self._other][self._y][self._x] = character
        self._x += 1

    def _down(self) -> None:
        if self._y + 1 < self.rows:
            self._y += 1
            return
        screen = self._screens[self._other]
        if not self._other:
            self._scrolled.append("".join(screen[0]).rstrip())
        screen[:] = [*screen[1:], [" "] * self.columns]

    def _empty(self) -> list[list[str]]:
        return [[" "] * self.columns for _ in range(self.rows)]
