"""Write quantities with units and moments."""

import datetime


def utc_moment(ns_since_epoch: int) -> datetime.datetime:
    """The moment in UTC, to the second."""
    return datetime.datetime.fromtimestamp(ns_since_epoch // 10**9, datetime.UTC)


def utc(ns_since_epoch: int) -> str:
    """Write a moment in UTC, to the second: 2026-11-21T12:05:00+00:00."""
    return utc_moment(ns_since_epoch).isoformat()


def parse_utc(text: str | None) -> datetime.datetime | None:
    """Parse an ISO date and time, in UTC where it names no zone; None for any other text."""
    try:
        moment = datetime.datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)


def clock_time(moment: datetime.datetime, now: datetime.datetime) -> str:
    """Write a moment to the minute, with its date unless that is today's. Both are in the time zone to be shown."""
    return f"{moment:%H:%M}" if moment.date() == now.date() else f"{moment:%Y-%m-%d %H:%M}"


def ns(value: float) -> str:
    """Write nanoseconds with three significant digits in a suitable unit: 84 ns, 27.9 us, 1.2 ms, 3.4 s."""
    for divisor, unit in ((1, "ns"), (1_000, "us"), (1_000_000, "ms")):
        if abs(value) / divisor < 999.5:
            return f"{_digits(value / divisor)} {unit}"
    return f"{_digits(value / 1_000_000_000)} s"


def signed_ns(value: float) -> str:
    """Write nanoseconds with a sign: +27.9 us, -1.2 ms, +0 ns."""
    return f"{'+' if value >= 0 else ''}{ns(value)}"


def with_uncertainty(value: float, uncertainty: float | None, unit: str) -> str:
    """Write a value with its unit and, where it is known, its uncertainty: `36.4 us +- 120 ns`."""
    return with_unit(value, unit) + ("" if uncertainty is None else f" +- {with_unit(uncertainty, unit)}")


def with_unit(value: float, unit: str) -> str:
    """Write a value in a unit of limits: ns, ppb (from 1000 in ppm), s, or "ratio", which is written in percent."""
    match unit:
        case "ns":
            return ns(value)
        case "ratio":
            return f"{value * 100:.2f} %"
        case "ppb":
            return f"{_digits(value / 1000)} ppm" if abs(value) >= 1_000 else f"{_digits(value)} ppb"
        case _:
            return f"{_digits(value)} {unit}"


def duration(seconds: float) -> str:
    """Write seconds for people: 45 s, 4 min 32 s, 2 min, 3 h 5 min; from an hour on without seconds."""
    minutes, rest_s = divmod(round(seconds), 60)
    hours, rest_min = divmod(minutes, 60)
    parts = [(hours, "h"), (rest_min, "min"), (rest_s if not hours else 0, "s")]
    return " ".join(f"{number} {unit}" for number, unit in parts if number) or "0 s"


def usd(amount: float) -> str:
    """Write an amount in dollars; an amount above 0 is never rounded to 0."""
    return f"${max(amount, 0.0001):.4f}" if 0 < amount < 0.01 else f"${amount:,.2f}"


def _digits(value: float) -> str:
    """Write three significant digits, above a thousand all integer digits, without exponent or trailing zeros."""
    rounded = f"{value:.3g}" if abs(value) < 999.5 else f"{value:.0f}"
    return f"{float(rounded):.10g}"
