"""A cheap hash of passwords, for tests of everything but the hashes."""

from typing import Final

from argon2 import Parameters, PasswordHasher, Type

CHEAP: Final = Parameters(type=Type.ID, version=19, salt_len=16, hash_len=32, time_cost=1, memory_cost=8, parallelism=1)
PASSWORD: Final = "correct horse battery"


def hashed(password: str = PASSWORD, profile: Parameters = CHEAP) -> str:
    return PasswordHasher.from_parameters(profile).hash(password)
