"""All operations of the HTTP API in one table."""

from typing import Final

from schemas.operations.accounts import ACCOUNTS
from schemas.operations.admin import ADMIN
from schemas.operations.generations import GENERATIONS
from schemas.operations.operation import Operation
from schemas.operations.service import SERVICE
from schemas.operations.workers import WORKERS

OPERATIONS: Final[tuple[Operation, ...]] = (*GENERATIONS, *WORKERS, *ACCOUNTS, *ADMIN, *SERVICE)
