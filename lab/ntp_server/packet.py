"""Answer an NTP request. Pure: bytes and times in, bytes or None out (RFC 5905, section 7.3)."""

import struct

NTP_EPOCH_OFFSET_S = 2_208_988_800  # 1900-01-01 to 1970-01-01, RFC 5905 section 6
_CLIENT, _SERVER = 3, 4
_HEADER = struct.Struct("!BBbb II 4s QQQQ")
_STRATUM = 1
_PRECISION = -20  # log2 seconds, about one microsecond
_ROOT_DISPERSION = round(0.0001 * 2**16)  # 100 us, in NTP short format: what the path through the emulated network adds
_REFERENCE_ID = b"HOST"
_POLL_LIMITS = (0, 17)


def timestamp(utc_ns: int) -> int:
    """Convert to the NTP timestamp format: seconds since 1900 and a binary fraction, 32 bits each, modulo the era."""
    seconds, ns = divmod(utc_ns, 10**9)
    return ((seconds + NTP_EPOCH_OFFSET_S) % 2**32) << 32 | (ns << 32) // 10**9


def reply(request: bytes, *, received_utc_ns: int, sent_utc_ns: int) -> bytes | None:
    """Build the server's answer to a client request; None for anything else (too short, other mode or version)."""
    if len(request) < _HEADER.size:
        return None
    first, _, poll, *_, transmitted = _HEADER.unpack_from(request)
    version, mode = first >> 3 & 7, first & 7
    if mode != _CLIENT or not 1 <= version <= 4:
        return None
    low, high = _POLL_LIMITS
    return _HEADER.pack(
        version << 3 | _SERVER,
        _STRATUM,
        min(max(poll, low), high),
        _PRECISION,
        0,
        _ROOT_DISPERSION,
        _REFERENCE_ID,
        timestamp(received_utc_ns - received_utc_ns % 10**9),
        transmitted,
        timestamp(received_utc_ns),
        timestamp(sent_utc_ns),
    )
