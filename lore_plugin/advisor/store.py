"""Replies and the ledger of calls, in one SQLite file.

The file may be shared by many processes and many runs. A call goes through

  reserve -> provider -> settle   reply and cost in one transaction
                      -> fail     paid, but no reply that can be read
                      -> release  certainly not paid

A reservation counts against the cap until it is settled. If its process dies
in between, it counts for ever: the call may have been paid. So the cap holds
whatever happens, and a reply is on disk before anybody uses it.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import sqlite3
import threading
import time

from .. import errors

FORMAT = 1
LONGEST = 1_000_000  # Characters kept of a field.
APPLICATION = 0x4C6F5265  # 'LoRe'

SCHEMA = """
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
  history text not null,
  scores text not null,
  raw text not null,
  parser integer not null,
  tokens_in integer not null,
  tokens_out integer not null,
  money real not null,
  seconds real not null,
  created real not null
);
create index replies_by_provider on replies (provider, model, prompt);
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
  raw text not null default ''
);
create index ledger_by_account on ledger (account);
create index ledger_by_key on ledger (key);
"""


@dataclasses.dataclass(frozen=True, slots=True)
class Identity:
  """Whose answers these are; replies of another identity are never mixed in.

  Attributes:
    provider: Name in `lore.advisor.provider`.
    model: Model that answers.
    prompt: Version of the prompt, '' for providers without one.
  """
  provider: str
  model: str
  prompt: str = ''


@dataclasses.dataclass(frozen=True, slots=True)
class Caps:
  """What an account may spend; a negative number is no limit.

  Attributes:
    calls: Calls.
    tokens: Tokens read and written.
    money: US dollars.
  """
  calls: int = -1
  tokens: int = -1
  money: float = -1.0


def state_key(query):
  """Returns the address of a state: what is asked, without the history."""
  desc = query.description
  return _hash([
      desc.version, query.mode, desc.text, desc.mission,
      list(query.candidates)])


def reply_key(identity, query):
  """Returns the address of a reply: state, history, and who is asked."""
  return _hash([
      identity.provider, identity.model, identity.prompt, state_key(query),
      [list(x) for x in query.history]])


def _hash(values):
  data = json.dumps(values, ensure_ascii=False, separators=(',', ':'))
  # Text from outside may hold lone surrogates, which UTF-8 refuses.
  return hashlib.sha256(data.encode('utf-8', 'surrogatepass')).hexdigest()


class Store:
  """Opens or creates a file of replies. Safe to use from several threads.

  Args:
    path: The file; its folder is created. ':memory:' keeps nothing.
    durable: Whether a settled call must survive a power cut, not only the end
      of the process. Costs a disk flush for each call.
    readonly: Whether to change nothing; the file must exist.

  Raises:
    StoreError: The file can't be opened, is not ours, or is newer than us.
  """

  def __init__(self, path, durable=True, readonly=False):
    self.path = str(path)
    self.owner = f'{os.getpid()}-{time.time():.6f}'
    self._lock = threading.RLock()
    self._db = None
    self._version = None
    self._added = False
    options = dict(
        timeout=30.0, isolation_level=None, check_same_thread=False)
    try:
      if readonly:
        self._db = self._open_readonly(options)
      else:
        if self.path != ':memory:':
          pathlib.Path(self.path).parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(self.path, **options)
      self._db.row_factory = sqlite3.Row
      if readonly:
        self._check()
      else:
        self._prepare(durable)
      self.changed()
    except (OSError, sqlite3.Error) as e:
      self.close()
      raise errors.StoreError(
          f'Cannot use {self.path!r} to store advice: {e}. It must be an'
          ' SQLite file of LoRe in a folder that can be written. Choose'
          ' another by --lore.advisor.store PATH.') from e
    except errors.StoreError:
      self.close()
      raise

  def _open_readonly(self, options):
    path = pathlib.Path(self.path).absolute()
    if not path.is_file():
      raise errors.StoreError(
          f'There is no file {self.path!r} to read advice from. Name one by'
          ' --lore.advisor.store PATH.')
    db = sqlite3.connect(f'{path.as_uri()}?mode=ro', uri=True, **options)
    try:
      db.execute('select count(*) from sqlite_master')
    except sqlite3.OperationalError:
      # Even readers of a file in WAL mode write beside it. Where that is not
      # allowed nobody else writes either.
      db.close()
      db = sqlite3.connect(
          f'{path.as_uri()}?mode=ro&immutable=1', uri=True, **options)
    return db

  def _check(self):
    """Raises unless the file is ours. Returns whether it holds tables."""
    db = self._db
    application = db.execute('pragma application_id').fetchone()[0]
    version = db.execute('pragma user_version').fetchone()[0]
    tables = db.execute('select count(*) from sqlite_master').fetchone()[0]
    if tables and application != APPLICATION:
      raise errors.StoreError(
          f'{self.path!r} is an SQLite file of another program. Choose'
          ' another file by --lore.advisor.store PATH.')
    if version > FORMAT:
      raise errors.StoreError(
          f'{self.path!r} was written by a newer LoRe (format {version}; this'
          f' one reads up to {FORMAT}). Update LoRe, or choose another file'
          ' by --lore.advisor.store PATH.')
    return tables > 0

  def _prepare(self, durable):
    db = self._db
    with self._transaction():
      if not self._check():
        for statement in SCHEMA.split(';'):
          db.execute(statement)
        db.execute(f'pragma application_id = {APPLICATION}')
        db.execute(f'pragma user_version = {FORMAT}')
    # Readers and one writer at a time don't block each other.
    self._patiently('pragma journal_mode = wal')
    db.execute(f'pragma synchronous = {"full" if durable else "normal"}')

  def _patiently(self, statement):
    """Changing the journal needs the file alone, and does not wait for it."""
    for attempt in range(100):
      try:
        return self._db.execute(statement)
      except sqlite3.OperationalError as e:
        if 'locked' not in str(e) or attempt == 99:
          raise
        time.sleep(0.05)

  @contextlib.contextmanager
  def _transaction(self):
    with self._lock:
      # Taking the write lock at once, so that what is read here is still true
      # when we write.
      self._db.execute('begin immediate')
      try:
        yield self._db
        self._db.execute('commit')
      except BaseException:
        # A commit that failed leaves the transaction open; some failures have
        # ended it already.
        if self._db.in_transaction:
          self._db.execute('rollback')
        raise

  def get(self, key):
    """Returns the stored reply as a dict, or None."""
    with self._lock:
      row = self._db.execute(
          'select * from replies where key = ?', (key,)).fetchone()
    return row and self._parse(row)

  def load(self, identity, after=0, limit=-1):
    """Returns the replies of an identity as dicts, the oldest first.

    Args:
      identity: Whose replies.
      after: Only those with a greater `seq`.
      limit: The most to return; -1 returns all.
    """
    with self._lock:
      rows = self._db.execute(
          'select * from replies where provider = ? and model = ?'
          ' and prompt = ? and seq > ? order by seq limit ?',
          (identity.provider, identity.model, identity.prompt, after, limit)
          ).fetchall()
    return [self._parse(row) for row in rows]

  def changed(self):
    """Returns whether others' replies may have come since the last time."""
    with self._lock:
      version = self._db.execute('pragma data_version').fetchone()[0]
      out = self._added or version != self._version
      self._version = version
      self._added = False
    return out

  def add(self, row):
    """Stores a reply of another file, which cost nothing here."""
    with self._lock:
      if self.get(row['key']) is None:
        self.copy(None, row)
        self._added = True

  def identities(self):
    """Returns whose replies there are, with their number, the most first."""
    with self._lock:
      rows = self._db.execute(
          'select provider, model, prompt, count(*) from replies'
          ' group by provider, model, prompt'
          ' order by count(*) desc, provider, model, prompt').fetchall()
    return [(Identity(*row[:3]), row[3]) for row in rows]

  def reserve(
      self, account, key, caps, tokens=0, money=0.0, once=True, again=False):
    """Sets aside one call, if the account's caps allow it.

    Args:
      account: Who pays; one cap for all that name the same.
      key: Result of `reply_key`.
      caps: `Caps` of the account.
      tokens: The most tokens the call may take.
      money: The most US dollars the call may cost.
      once: Whether nobody may ask for this reply a second time while, or
        after, somebody else does.
      again: Whether to ask whatever is stored or under way.

    Returns:
      (ticket, ''), or (None, reason): 'budget' if a cap would be exceeded,
      'stored' if the reply arrived meanwhile, 'pending' if somebody holds a
      reservation for this reply, or died with one.
    """
    with self._transaction() as db:
      if not again and db.execute(
          'select 1 from replies where key = ?', (key,)).fetchone():
        return None, 'stored'
      if once and not again and db.execute(
          "select 1 from ledger where key = ? and status = 'reserved'",
          (key,)).fetchone():
        return None, 'pending'
      spent = self._spent(account)
      if 0 <= caps.calls < spent['calls'] + 1:
        return None, 'budget'
      if 0 <= caps.tokens < spent['tokens'] + tokens:
        return None, 'budget'
      # A cent in a billion for sums of floats.
      if 0 <= caps.money < spent['money'] + money - 1e-9:
        return None, 'budget'
      ticket = db.execute(
          'insert into ledger (account, key, status, tokens, money, owner,'
          " reserved) values (?, ?, 'reserved', ?, ?, ?, ?)",
          (account, key, tokens, money, self.owner, time.time())).lastrowid
    return ticket, ''

  def settle(self, ticket, identity, query, reply, parser=1):
    """Writes a reply and what it cost, at once.

    Args:
      ticket: Result of `reserve`.
      identity: Who answered.
      query: What was asked.
      reply: The answer.
      parser: Version of the parser that read the scores.

    Returns:
      The stored reply as `get` returns it.
    """
    desc = query.description
    return self.copy(ticket, dict(
        key=reply_key(identity, query), state=state_key(query),
        provider=identity.provider, model=identity.model,
        prompt=identity.prompt, describer=desc.version, mode=query.mode,
        text=_plain(desc.text), mission=_plain(desc.mission),
        candidates=json.dumps(query.candidates),
        history=json.dumps(query.history),
        scores=json.dumps([float(x) for x in reply.scores]),
        raw=_plain(reply.raw), parser=int(parser),
        tokens_in=int(reply.tokens_in),
        tokens_out=int(reply.tokens_out), money=float(reply.money),
        seconds=float(reply.seconds), created=time.time()))

  def copy(self, ticket, row):
    """Settles a call by a row as `get` returns it, perhaps of another file."""
    row = {k: v for k, v in row.items() if k != 'seq'}
    for name in ('candidates', 'history', 'scores'):
      if not isinstance(row[name], str):
        row[name] = json.dumps(row[name])
    names = ', '.join(row)
    marks = ', '.join('?' * len(row))
    with self._transaction() as db:
      added = db.execute(
          f'insert or ignore into replies ({names}) values ({marks})',
          tuple(row.values())).rowcount
      # A second reply to the same question is kept as it came.
      db.execute(
          "update ledger set status = 'settled', tokens = ?, money = ?,"
          ' settled = ?, raw = coalesce(?, raw) where id = ?',
          (row['tokens_in'] + row['tokens_out'], row['money'], time.time(),
           None if added else row['raw'], ticket))
      stored = db.execute(
          'select * from replies where key = ?', (row['key'],)).fetchone()
    return self._parse(stored)

  def fail(self, ticket, tokens=None, money=None, raw=''):
    """Closes a reservation whose call brought no reply that can be read.

    The call still counts, and so do the tokens and the money set aside,
    unless it is known what was spent. What was paid for is kept as it came.
    """
    with self._transaction() as db:
      db.execute(
          "update ledger set status = 'failed', settled = ?, raw = ?,"
          ' tokens = coalesce(?, tokens), money = coalesce(?, money)'
          ' where id = ?', (time.time(), _plain(raw), tokens, money, ticket))

  def release(self, ticket):
    """Undoes a reservation whose call was certainly not paid."""
    with self._transaction() as db:
      db.execute('delete from ledger where id = ?', (ticket,))

  def spent(self, account):
    """Returns calls, tokens and money of an account, reservations included."""
    with self._lock:
      return self._spent(account)

  def _spent(self, account):
    row = self._db.execute(
        'select count(*) as calls, coalesce(sum(tokens), 0) as tokens,'
        ' coalesce(sum(money), 0.0) as money from ledger where account = ?',
        (account,)).fetchone()
    return dict(row)

  def _parse(self, row):
    row = dict(row)
    row['candidates'] = tuple(json.loads(row['candidates']))
    row['history'] = tuple(tuple(x) for x in json.loads(row['history']))
    row['scores'] = tuple(json.loads(row['scores']))
    return row

  def close(self):
    """Closes the file. May be called twice."""
    with self._lock:
      if self._db is not None:
        self._db.close()
        self._db = None


def _plain(text):
  """Returns text that SQLite can store, whatever and how much came in."""
  return str(text)[:LONGEST].encode('utf-8', 'replace').decode('utf-8')
