"""The usual way to serve the same reads: FastAPI, response models, SQLAlchemy's async session over asyncpg.

Less than the API does: no keys, no signed URLs, no metrics. One process, uvloop and httptools.

python -m tests.bench.http.fastapi_baseline PORT DATABASE_URL OWNER_ID
"""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Annotated
from uuid import UUID

import uvicorn
from fastapi import Depends, FastAPI, HTTPException, Query, Request
from pydantic import BaseModel
from sqlalchemy import ForeignKey, Text, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, joinedload, mapped_column, relationship


class Base(DeclarativeBase):
    """The tables of the migrations."""


class State(Base):
    """The changing columns of a generation."""

    __tablename__ = "generation_states"
    __table_args__ = ({"schema": "projections"},)
    generation_id: Mapped[UUID] = mapped_column(primary_key=True)
    status: Mapped[str]
    version: Mapped[int]
    attempt: Mapped[int]
    provider: Mapped[str]
    percent: Mapped[float | None]
    stage: Mapped[str | None]
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    deleted_at: Mapped[datetime | None]
    outputs: Mapped[str | None] = mapped_column(Text)
    error: Mapped[str | None] = mapped_column(Text)


class Generation(Base):
    """The constant columns of a generation."""

    __tablename__ = "generation_requests"
    __table_args__ = ({"schema": "projections"},)
    generation_id: Mapped[UUID] = mapped_column(
        ForeignKey("projections.generation_states.generation_id"), primary_key=True
    )
    owner_id: Mapped[UUID]
    prompt: Mapped[str]
    seed: Mapped[int]
    width: Mapped[int]
    height: Mapped[int]
    model: Mapped[str]
    deadline: Mapped[datetime | None]
    retried_from: Mapped[UUID | None]
    requested_at: Mapped[datetime]
    state: Mapped[State] = relationship()


class Out(BaseModel):
    """A generation in a response; outputs and error as JSON text, as in the columns."""

    id: UUID
    status: str
    version: int
    model: str
    provider: str
    attempt: int
    prompt: str
    seed: int
    width: int
    height: int
    percent: float | None
    stage: str | None
    outputs: str | None
    error: str | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    deadline: datetime | None
    retried_from: UUID | None


class Page(BaseModel):
    """Newest first."""

    data: list[Out]


def out(row: Generation) -> Out:
    state = row.state
    return Out(
        id=row.generation_id,
        status=state.status,
        version=state.version,
        model=row.model,
        provider=state.provider,
        attempt=state.attempt,
        prompt=row.prompt,
        seed=row.seed,
        width=row.width,
        height=row.height,
        percent=state.percent,
        stage=state.stage,
        outputs=state.outputs,
        error=state.error,
        created_at=row.requested_at,
        started_at=state.started_at,
        ended_at=state.ended_at,
        deadline=row.deadline,
        retried_from=row.retried_from,
    )


async def session(request: Request) -> AsyncIterator[AsyncSession]:
    sessions: async_sessionmaker[AsyncSession] = request.app.state.sessions
    async with sessions() as opened:
        yield opened


Session = Annotated[AsyncSession, Depends(session)]


def make_app(database_url: str, owner_id: UUID) -> FastAPI:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        engine = create_async_engine(database_url.replace("postgresql://", "postgresql+asyncpg://"), pool_size=10)
        app.state.sessions = async_sessionmaker(engine, expire_on_commit=False)
        yield
        await engine.dispose()

    app = FastAPI(lifespan=lifespan)
    joined = select(Generation).join(Generation.state).options(joinedload(Generation.state, innerjoin=True))
    own = joined.where(Generation.owner_id == owner_id, State.deleted_at.is_(None))
    newest = own.order_by(Generation.requested_at.desc(), Generation.generation_id.desc())

    @app.get("/v1/generations/{generation_id}")
    async def get(generation_id: UUID, opened: Session) -> Out:
        row = await opened.scalar(own.where(Generation.generation_id == generation_id))
        if row is None:
            raise HTTPException(404)
        return out(row)

    @app.get("/v1/generations")
    async def page(opened: Session, limit: Annotated[int, Query(ge=1, le=100)] = 50) -> Page:
        return Page(data=[out(row) for row in await opened.scalars(newest.limit(limit))])

    return app


def main() -> None:
    port, database_url, owner_id = sys.argv[1:]
    app = make_app(database_url, UUID(owner_id))
    uvicorn.run(
        app, host="127.0.0.1", port=int(port), loop="uvloop", http="httptools", access_log=False, log_level="warning"
    )


if __name__ == "__main__":
    main()
