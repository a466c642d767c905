"""Decide when a call that failed is sent again."""

import random
from dataclasses import dataclass

_MOST_DOUBLINGS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How long a call is tried, in seconds. Pauses double from the first to the longest.

    `deadline_s`: the time from the beginning of a call after which its last failure counts. `answer_s`: how long the
    service may be silent within one try. `most_tries`: None: as many as fit into that time.
    """

    deadline_s: float = 30.0
    answer_s: float = 20.0
    most_tries: int | None = None
    first_pause_s: float = 0.2
    longest_pause_s: float = 5.0

    def draw_pause_s(self, failures: int) -> float:
        """Draw the pause after so many failures in a row, from 1: between the half of it and all of it.

        Clients whose calls failed at the same moment do not come back at the same moment.
        """
        whole_s: float = min(self.first_pause_s * 2 ** min(failures - 1, _MOST_DOUBLINGS), self.longest_pause_s)
        return whole_s * random.uniform(0.5, 1.0)

    def draw_next_pause_s(self, failures: int, left_s: float, *, least_s: float = 0.0) -> float | None:
        """Draw the pause before the next try; None where there is none: of so many failures, the last one counts.

        `left_s`: until the deadline. `least_s`: how long the service asks to wait; at most the longest pause is.
        """
        if self.most_tries is not None and failures >= self.most_tries:
            return None
        pause_s = max(self.draw_pause_s(failures), min(least_s, self.longest_pause_s))
        return pause_s if pause_s < left_s else None


USUAL = RetryPolicy()
SLOW = RetryPolicy(deadline_s=1800.0, answer_s=900.0, most_tries=3)
"""For what may take minutes, such as the removal of a host."""
