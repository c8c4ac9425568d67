"""UUIDv7 (RFC 9562, section 5.7) from a time and entropy given by the caller, and the time of one."""

from uuid import UUID


def uuid7(unix_ms: int, entropy: bytes) -> UUID:
    """48 bits of Unix milliseconds, then 74 bits of the 10 bytes of `entropy`: sorts by time."""
    random_bits = int.from_bytes(entropy[:10], "big")
    value = (unix_ms & 0xFFFF_FFFF_FFFF) << 80
    value |= 0x7 << 76 | (random_bits >> 62 & 0xFFF) << 64
    value |= 0b10 << 62 | random_bits & 0x3FFF_FFFF_FFFF_FFFF
    return UUID(int=value)


def unix_ms_of(identifier: UUID) -> int | None:
    """The Unix milliseconds in a UUIDv7; None for another version, which has no such time."""
    return identifier.int >> 80 if identifier.version == 7 else None
