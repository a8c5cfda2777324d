"""The schema: from zero by migrations, and as the models state it."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from tests.server.conftest import Clock
from tests.server.store.fixtures.write_database import FOLDER, HOME, shown

from berth_server.service.state import Options, ServerState
from berth_server.store import jobs, messages, migrate
from berth_server.store.database import Database, StoreError, file_system
from berth_server.store.migrate import SchemaError
from berth_server.store.tables import Table


def schema(path: Path) -> dict[str, list[str]]:
    """Every definition in SQLite's own words; constraints stand in an order of their own."""
    rows = sqlite3.connect(path).execute(
        "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"
        " AND name NOT LIKE 'sqlite_%' AND name <> 'alembic_version'"
    )
    return {
        name: sorted(re.sub(r'[\s(),"]+', " ", part).strip() for part in sql.split("CONSTRAINT"))
        for name, sql in rows
    }


def test_migrations_from_zero_give_what_the_models_state(tmp_path):
    """Alembic sees no difference, and SQLite's own definitions are the same."""
    migrated, stated = tmp_path / "migrated.db", tmp_path / "stated.db"
    assert migrate.upgrade(migrated)
    engine = sqlalchemy.create_engine(f"sqlite:///{migrated}")
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Table.metadata) == []
    Table.metadata.create_all(sqlalchemy.create_engine(f"sqlite:///{stated}"))
    assert schema(migrated) == schema(stated)


def fields_of(now: Any, then: Any) -> Any:
    """Those parts of `now` that `then` has: fields are added as time goes on, none is lost."""
    if isinstance(now, dict) and isinstance(then, dict):
        return {name: fields_of(now[name], then[name]) for name in then}
    if isinstance(now, list) and isinstance(then, list) and len(now) == len(then):
        return [fields_of(one, other) for one, other in zip(now, then, strict=True)]
    return now


RELEASED = sorted(FOLDER.glob("schema-*.sql"))


def test_every_schema_has_a_fixture():
    """Written by `tests/server/store/fixtures/write_database.py` of the version that released it."""
    revisions = ScriptDirectory.from_config(migrate.config()).walk_revisions()
    assert {path.stem.removeprefix("schema-") for path in RELEASED} == {
        revision.revision for revision in revisions
    }


@pytest.mark.parametrize("dump", RELEASED, ids=lambda path: path.stem)
def test_a_database_of_a_released_schema_reads_back_the_same(tmp_path, dump):
    """Every job as REST showed it then, and the worker is asked for the same; a copy is kept."""
    path = tmp_path / "berth.db"
    with sqlite3.connect(path) as old:
        old.executescript(dump.read_text())
    before = dict(old.execute("SELECT type, count(*) FROM sqlite_master GROUP BY type"))
    revision = migrate.revision(path)
    expected = json.loads(dump.with_suffix(".json").read_text())
    db = Database(path)
    found = shown(ServerState(db, Options(home=HOME), Clock(expected.pop("now"))))
    assert fields_of(found, expected) == expected
    assert db.read.all("PRAGMA foreign_key_check") == []
    assert db.read.value("PRAGMA integrity_check") == "ok"
    db.close()
    copy = path.with_name(f"berth.db.before-{migrate.head()}")
    assert copy.exists() == (revision != migrate.head())
    if copy.exists():
        rows = sqlite3.connect(copy).execute(
            "SELECT type, count(*) FROM sqlite_master GROUP BY type"
        )
        assert dict(rows) == before
    fresh = tmp_path / "fresh.db"
    migrate.upgrade(fresh)
    assert schema(path) == schema(fresh)


def test_secrets_and_ids_come_through_the_move_to_one_spec_column(tmp_path):
    """Data that REST hides is the same too, and no id is issued twice."""
    path = tmp_path / "berth.db"
    with sqlite3.connect(path) as old:
        old.executescript((FOLDER / "schema-0001.sql").read_text())
        old.execute("UPDATE sqlite_sequence SET seq = 77 WHERE name = 'jobs'")
        before = old.execute("SELECT id, env, notify, labels FROM jobs ORDER BY id").fetchall()
    db = Database(path)
    for job_id, *columns in before:
        job = jobs.get(db.read, job_id)
        assert job is not None
        texts = [json.loads(column) for column in columns]
        assert [job.spec.env, job.spec.notify, job.spec.labels] == texts
    assert jobs.next_id(db.read) == 78
    db.close()


def test_a_stored_sentence_becomes_one_text_part(tmp_path):
    """Of jobs, attempts and events alike; what says nothing stays empty."""
    path = tmp_path / "berth.db"
    queries = [
        f"SELECT {key}, message FROM {table} ORDER BY {key}"
        for table, key in (("jobs", "id"), ("attempts", "rowid"), ("events", "id"))
    ]
    with sqlite3.connect(path) as old:
        old.executescript((FOLDER / "schema-0001.sql").read_text())
        before = [old.execute(query).fetchall() for query in queries]
    migrate.upgrade(path)
    new = sqlite3.connect(path)
    for query, rows in zip(queries, before, strict=True):
        assert any(sentence for _, sentence in rows)
        assert new.execute(query).fetchall() == [
            (key, None if sentence is None else messages.encode(sentence)) for key, sentence in rows
        ]


def test_an_upgrade_that_fails_leaves_the_database_as_it_was(tmp_path):
    """All of it is one transaction: a crash leaves no half of a schema."""
    path = tmp_path / "berth.db"
    with sqlite3.connect(path) as old:
        old.executescript((FOLDER / "schema-0001.sql").read_text())
        old.execute("UPDATE jobs SET labels = 'not JSON' WHERE id = 30")
    before = schema(path)
    with pytest.raises(ValueError, match="Expecting value"):
        migrate.upgrade(path)
    assert schema(path) == before
    assert migrate.revision(path) == "0001"


def test_the_newest_revision_is_reported_by_its_file_name():
    """The quick look without Alembic agrees with Alembic."""
    assert migrate.head() == ScriptDirectory.from_config(migrate.config()).get_current_head()


def test_an_upgrade_of_what_is_new_does_nothing(tmp_path):
    """And needs no Alembic."""
    path = tmp_path / "berth.db"
    assert migrate.upgrade(path)
    assert not migrate.upgrade(path)


def test_an_old_database_is_copied_before_it_is_changed(tmp_path, monkeypatch):
    """Whatever goes wrong, a copy of the old one is in the same folder."""
    path = tmp_path / "berth.db"
    migrate.upgrade(path)
    with sqlite3.connect(path) as db:
        db.execute("UPDATE alembic_version SET version_num = '0000'")
    monkeypatch.setattr(migrate, "_run", lambda _: None)
    migrate.upgrade(path)
    copy = tmp_path / f"berth.db.before-{migrate.head()}"
    assert migrate.revision(copy) == "0000"


def test_a_database_of_a_newer_berth_is_left_alone(tmp_path):
    """With a sentence that names the way out."""
    path = tmp_path / "berth.db"
    migrate.upgrade(path)
    with sqlite3.connect(path) as db:
        db.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(SchemaError, match="newer Berth"):
        Database(path)


def test_the_migrations_of_a_wheel_are_found(tmp_path, monkeypatch):
    """They are in the same folder as the code there."""
    packed = tmp_path / "_migrations"
    shutil.copytree(migrate.folder(), packed)
    monkeypatch.setattr(migrate, "_PACKAGE", tmp_path)
    assert migrate.folder() == packed
    assert migrate.head() == "0006"


def test_a_file_that_is_no_database_is_reported_as_such(tmp_path):
    """One sentence that names it."""
    path = tmp_path / "berth.db"
    path.write_bytes(b"not a database, but long enough to be taken for one" * 100)
    with pytest.raises(StoreError, match=r"berth\.db"):
        Database(path)


def test_network_file_systems_are_refused(tmp_path, monkeypatch):
    """SQLite's write-ahead log needs shared memory."""
    assert file_system(tmp_path)
    monkeypatch.setattr("berth_server.store.database.file_system", lambda _: "nfs4")
    with pytest.raises(StoreError, match="BERTH_HOME"):
        Database(tmp_path / "berth.db")


def test_the_database_is_private(tmp_path):
    """It holds the jobs' environments."""
    path = tmp_path / "berth.db"
    Database(path).close()
    assert path.stat().st_mode & 0o077 == 0


def test_folding_does_not_disturb_the_writer(tmp_path):
    """From another thread, in the middle of a transaction; nothing is lost."""
    db = Database(tmp_path / "berth.db")
    with db.write(now=0.0) as tx:
        tx.execute("INSERT INTO drains (gpu_uuid, actor, since) VALUES ('a', 'x', 0)")
    with db.write(now=0.0) as tx:
        tx.execute("INSERT INTO drains (gpu_uuid, actor, since) VALUES ('b', 'x', 0)")
        folding = threading.Thread(target=db.fold)
        folding.start()
        folding.join(10)
        assert not folding.is_alive()
    assert db.read.all("SELECT gpu_uuid FROM drains ORDER BY 1") == [("a",), ("b",)]
    db.close()
