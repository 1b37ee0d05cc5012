"""The SQLite file under the store: opened, migrated, locked, watched.

Reading and writing have a connection each, so that whoever reads never waits
for whoever writes. Nobody waits long for the lock of another program: once in
vain, then we rest, and try in between for a moment only.
"""

import contextlib
import os
import pathlib
import sqlite3
import threading
import time
from collections.abc import Iterator
from typing import Any

from .. import errors

FORMAT = 2
APPLICATION = 0x4C6F5265  # 'LoRe'

# Seconds to wait for a lock. Nobody waits for us when the file is opened; and
# another process may be migrating it.
OPENING = 30.0
PATIENCE = 5.0  # Our own writes take some milliseconds.
GLANCE = 0.1  # After a wait in vain.

# Seconds of the first rest, and of the longest; each is twice the one before.
REST = (1.0, 60.0)

TABLES = ("""
create table replies (
  seq integer primary key autoincrement,
  key text not null unique,
  state text not null,
  provider text not null,
  model text not null,
  prompt text not null,
  describer text not null,
  mode text not null,
  text text not null,
  mission text not null,
  candidates text not null,
  scores text not null,
  raw text not null,
  parser integer not null,
  tokens_in integer not null,
  tokens_out integer not null,
  money real not null,
  seconds real not null,
  created real not null
)""", """
create index replies_by_provider on replies (provider, model, prompt)
""", """
create table ledger (
  id integer primary key,
  account text not null,
  key text not null,
  status text not null check (status in ('reserved', 'settled', 'failed')),
  tokens integer not null,
  money real not null,
  owner text not null,
  reserved real not null,
  settled real,
  raw text not null default '',
  reason text not null default ''
)""")

# What an account has spent is kept as it grows, so that a call costs the same
# whatever was spent before. Triggers, so that no write can forget it.
BOOKS = ("""
create index ledger_open on ledger (key) where status != 'settled'
""", """
create table accounts (
  name text primary key,
  calls integer not null,
  tokens integer not null,
  money real not null
) without rowid
""", """
create table notes (name text primary key, value text not null) without rowid
""", """
insert into accounts
select account, count(*), sum(tokens), sum(money) from ledger group by account
""", """
create trigger ledger_added after insert on ledger begin
  insert into accounts values (new.account, 1, new.tokens, new.money)
  on conflict (name) do update set calls = calls + 1,
  tokens = tokens + excluded.tokens, money = money + excluded.money;
end""", """
create trigger ledger_changed after update of tokens, money on ledger begin
  update accounts set tokens = tokens + new.tokens - old.tokens,
  money = money + new.money - old.money where name = new.account;
end""", """
create trigger ledger_removed after delete on ledger begin
  update accounts set calls = calls - 1, tokens = tokens - old.tokens,
  money = money - old.money where name = old.account;
end""")

# From format 1. Answers that were given to more than the state are no answers
# to it: they become those of another prompt.
FROM_1 = (
    "update replies set prompt = prompt || '+history' where history != '[]'",
    'alter table replies drop column history',
    "alter table ledger add column reason text not null default ''",
    'drop index ledger_by_account',
    'drop index ledger_by_key',
    *BOOKS)


class Database:
  """Opens or creates the file. Safe to use from several threads.

  Args:
    path: The file; its folder is created. ':memory:' keeps nothing.
    durable: Whether a commit must survive a power cut, not only the end of the
      process. Costs a disk flush.
    readonly: Whether to change nothing; the file must exist.
    patience: Seconds to wait for a lock of another program.

  Raises:
    StoreError: The file can't be opened, is not ours, or is newer than us.
  """

  def __init__(
      self, path: str | os.PathLike, durable: bool = True,
      readonly: bool = False, patience: float = PATIENCE):
    self.path = str(path)
    self.patience = patience
    self.readonly = readonly
    self._lock = threading.RLock()
    # None once it is closed; whoever uses it then is told so by an error.
    self._writer: Any = None
    self._reader: Any = None
    self._read_lock = self._lock
    self._file = None
    self._version = None
    self._rest = 0.0
    self._until = 0.0
    try:
      self._open(durable)
    except (OSError, sqlite3.Error) as e:
      self.close()
      raise errors.StoreError(
          f'Cannot use {self.path!r} to store advice: {e}. It must be an'
          ' SQLite file of LoRe in a folder that can be written, and no other'
          ' program may hold it locked. Choose another by'
          ' --lore.advisor.store PATH.') from e
    except errors.StoreError:
      self.close()
      raise

  def _open(self, durable):
    if self.readonly:
      self._writer = self._open_readonly()
      self._reader = self._writer
    elif self.path == ':memory:':
      self._writer = self._reader = connect(':memory:')
      self._prepare(durable)
    else:
      pathlib.Path(self.path).parent.mkdir(parents=True, exist_ok=True)
      self._writer = connect(self.path)
      self._prepare(durable)
      self._reader = connect(self.path)
      self._reader.execute('pragma query_only = on')
      self._read_lock = threading.RLock()
      self._file = identify(self.path)
    wait(self._writer, self.patience)
    if self._reader is not self._writer:
      # A writer never blocks it; only whoever has the file alone does.
      wait(self._reader, min(self.patience, 1.0))
    self.changed()

  def _open_readonly(self):
    path = pathlib.Path(self.path).absolute()
    if not path.is_file():
      raise errors.StoreError(
          f'There is no file {self.path!r} to read advice from. Name one by'
          ' --lore.advisor.store PATH.')
    db = connect(f'{path.as_uri()}?mode=ro', uri=True)
    try:
      db.execute('select count(*) from sqlite_master')
    except sqlite3.OperationalError:
      # Even readers of a file in WAL mode write beside it. Where that is not
      # allowed nobody else writes either.
      db.close()
      db = connect(f'{path.as_uri()}?mode=ro&immutable=1', uri=True)
    if self._check(db) == FORMAT:
      return db
    # The file stays as it is; a copy is brought up to date. Somebody else may
    # have migrated the file meanwhile, so that only the copy says what it is.
    copy = connect(':memory:')
    db.backup(copy)
    db.close()
    migrate(copy, self._check(copy))
    copy.execute('pragma query_only = on')
    return copy

  def _check(self, db):
    """Raises unless a file is ours. Returns its format, 0 where it is empty.
    """
    # By one statement: between two another process may create the file, and a
    # new file of ours would look like one of another program.
    application, version, tables = db.execute(
        'select application_id, user_version,'
        ' (select count(*) from sqlite_master)'
        ' from pragma_application_id, pragma_user_version').fetchone()
    if tables and application != APPLICATION:
      raise errors.StoreError(
          f'{self.path!r} is an SQLite file of another program. Choose'
          ' another file by --lore.advisor.store PATH.')
    if version > FORMAT:
      raise errors.StoreError(
          f'{self.path!r} was written by a newer LoRe (format {version}; this'
          f' one reads up to {FORMAT}). Update LoRe, or choose another file'
          ' by --lore.advisor.store PATH.')
    return version if tables else 0

  def _prepare(self, durable):
    db = self._writer
    if self._check(db) != FORMAT:
      db.execute('begin immediate')
      try:
        # Somebody else may have been faster.
        migrate(db, self._check(db))
        db.execute('commit')
      except BaseException:
        db.execute('rollback')
        raise
    # Readers and one writer at a time don't block each other. Changing to it
    # needs the file alone, and does not wait for it.
    for attempt in range(100):
      try:
        db.execute('pragma journal_mode = wal')
        break
      except sqlite3.OperationalError as e:
        if not locked(e) or attempt == 99:
          raise
        time.sleep(0.05)
    db.execute(f'pragma synchronous = {"full" if durable else "normal"}')

  @contextlib.contextmanager
  def write(self) -> Iterator[sqlite3.Connection]:
    """A transaction that others see whole or not at all.

    Raises:
      StoreError: Another program holds the file, or it is gone.
      sqlite3.Error: It can't be written.
    """
    with self._lock:
      self._begin()
      try:
        yield self._writer
        self._writer.execute('commit')
      except BaseException:
        # A commit that failed leaves the transaction open; some failures have
        # ended it already.
        if self._writer.in_transaction:
          self._writer.execute('rollback')
        raise

  def _begin(self):
    if time.monotonic() < self._until:
      raise errors.StoreError(
          f'{self.path!r} is locked by another program; looked at again in a'
          ' while.')
    if self._file and identify(self.path) != self._file:
      raise errors.StoreError(
          f'{self.path!r} was removed or replaced while this run used it.'
          ' Nothing is asked any more, as nobody could count it. Start the run'
          ' again.')
    wait(self._writer, GLANCE if self._rest else self.patience)
    try:
      # Taking the write lock at once, so that what is read here is still true
      # when we write.
      self._writer.execute('begin immediate')
    except sqlite3.OperationalError as e:
      if not locked(e):
        raise
      self._rest = min(max(REST[0], 2 * self._rest), REST[1])
      self._until = time.monotonic() + self._rest
      raise errors.StoreError(
          f'{self.path!r} is locked by another program. Close it, or end its'
          ' transaction.') from e
    self._rest = 0.0

  @contextlib.contextmanager
  def read(self) -> Iterator[sqlite3.Connection]:
    """The connection to read from."""
    with self._read_lock:
      yield self._reader

  def changed(self) -> bool:
    """Returns whether others may have written since the last time.

    False while one of our own threads writes: ask again.
    """
    if not self._lock.acquire(blocking=False):
      return False
    try:
      version = self._writer.execute('pragma data_version').fetchone()[0]
      out = version != self._version
      self._version = version
      return out
    finally:
      self._lock.release()

  def close(self) -> None:
    """Closes the file. May be called twice."""
    with self._lock, self._read_lock:
      for db in (self._reader, self._writer):
        if db is not None:
          db.close()
      self._reader = self._writer = None


def connect(path: str, **kwargs: Any) -> sqlite3.Connection:
  db = sqlite3.connect(
      path, timeout=OPENING, isolation_level=None, check_same_thread=False,
      **kwargs)
  db.row_factory = sqlite3.Row
  return db


def duplicate(
    source: str | os.PathLike, target: str | os.PathLike) -> None:
  """Copies a file whole or not at all.

  What its writer committed last is in files beside it, until somebody opens
  it: SQLite alone can copy them as one.

  Raises:
    sqlite3.Error: It can't be read, or the copy can't be written.
  """
  temp = f'{os.fspath(target)}.{os.getpid()}.tmp'
  try:
    with contextlib.closing(connect(os.fspath(source))) as old, \
        contextlib.closing(connect(temp)) as new:
      old.backup(new)
      # All of it in the one file that is moved.
      new.execute('pragma journal_mode = delete')
    os.replace(temp, target)
  finally:
    with contextlib.suppress(OSError):
      os.unlink(temp)


def migrate(db: sqlite3.Connection, version: int) -> None:
  """Brings a file to the present format.

  Args:
    db: The connection.
    version: The format it has; 0 for an empty file.
  """
  if version == FORMAT:
    return
  for statement in FROM_1 if version else (*TABLES, *BOOKS):
    db.execute(statement)
  db.execute(f'pragma application_id = {APPLICATION}')
  db.execute(f'pragma user_version = {FORMAT}')


def wait(db: sqlite3.Connection, seconds: float) -> None:
  """Says how long a connection waits for locks."""
  db.execute(f'pragma busy_timeout = {int(1000 * seconds)}')


def locked(error: Exception) -> bool:
  return 'locked' in str(error) or 'busy' in str(error)


def identify(path: str) -> tuple[int, int] | None:
  """Returns what tells a file from another that takes its name."""
  try:
    found = os.stat(path)
  except OSError:
    return None
  return found.st_dev, found.st_ino
