"""API keys as a team would write them for itself: FastAPI, SQLAlchemy, SQLite; a key is found by its SHA-256."""

import hashlib
import os
import secrets
import uuid
from datetime import UTC, datetime

from fastapi import FastAPI
from pydantic import BaseModel
from sqlalchemy import create_engine, event, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

engine = create_engine(f"sqlite:///{os.environ['DATABASE']}", connect_args={"timeout": 30})


@event.listens_for(engine, "connect")
def set_pragmas(connection, _record):
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")


class Base(DeclarativeBase):
    pass


class ApiKey(Base):
    __tablename__ = "api_keys"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    name: Mapped[str]
    owner: Mapped[str]
    hash: Mapped[str] = mapped_column(unique=True)
    created_at: Mapped[datetime] = mapped_column(default=lambda: datetime.now(UTC))
    revoked_at: Mapped[datetime | None]


class Presented(BaseModel):
    key: str


class NewKey(BaseModel):
    name: str


class Verified(BaseModel):
    valid: bool
    id: uuid.UUID | None = None
    name: str | None = None
    owner: str | None = None


class CreatedKey(BaseModel):
    id: uuid.UUID
    key: str
    name: str


Base.metadata.create_all(engine)
app = FastAPI()


def hash_of(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


@app.post("/verify")
def verify(presented: Presented) -> Verified:
    with Session(engine) as session:
        key = session.scalar(select(ApiKey).where(ApiKey.hash == hash_of(presented.key)))
        if key is None or key.revoked_at is not None:
            return Verified(valid=False)
        return Verified(valid=True, id=key.id, name=key.name, owner=key.owner)


@app.post("/keys", status_code=201)
def create(new: NewKey) -> CreatedKey:
    secret = "sk_" + secrets.token_urlsafe(32)
    with Session(engine) as session:
        key = ApiKey(name=new.name, owner="alice", hash=hash_of(secret))
        session.add(key)
        session.commit()
        return CreatedKey(id=key.id, key=secret, name=key.name)
