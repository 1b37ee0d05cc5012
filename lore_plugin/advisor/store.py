"""Replies and the ledger of calls, in one SQLite file.

The file may be shared by many processes and many runs. A call goes through

  reserve -> provider -> settle   reply and cost in one transaction
                      -> fail     paid, but no reply that can be read
                      -> release  certainly not paid

A reservation counts against the cap until it is settled. If its process dies
in between, it counts for ever: the call may have been paid. It keeps others
from asking the same for as long as a call may take. So the cap holds
whatever happens, and a reply is on disk before anybody uses it. A call never
costs more than was reserved for it, whatever its answer claims; where nobody
says what it cost, it costs all of that.

A reply is stored by its question: world, mode, text, mission and
candidates in words, and who was asked with which prompt. How a candidate is
pursued is no part of it.
"""

import dataclasses
import hashlib
import json
import math
import os
import sqlite3
import time
from collections.abc import Sequence
from typing import Any

from .. import errors
from . import database
from . import rows as rowslib
from . import types


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

  @classmethod
  def of(cls, row: dict) -> 'Identity':
    """Whose answer a row of `replies` is."""
    return cls(row['provider'], row['model'], row['prompt'])


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


@dataclasses.dataclass(frozen=True, slots=True)
class Terms:
  """Under which terms a call is reserved.

  Attributes:
    caps: `Caps` of the account.
    tokens: The most tokens the call may take; 0 where it is not bounded.
    money: The most US dollars the call may cost.
    once: Whether nobody may ask for this reply a second time while, or after,
      somebody else does.
    again: Whether to ask whatever is stored or under way.
    tries: How often this account may pay for answers that can't be read.
    patience: Seconds after which a reservation of another process holds up
      nobody: it has died by then, and the answer will not come.
  """
  caps: Caps = Caps()
  tokens: int = 0
  money: float = 0.0
  once: bool = True
  again: bool = False
  tries: int = 2
  patience: float = math.inf


def question_key(query: types.Query) -> str:
  """Returns the address of a question, whoever is asked."""
  desc = query.description
  return _hash([
      desc.version, query.mode, desc.text, desc.mission,
      list(query.candidates)])


def reply_key(identity: Identity, query: types.Query) -> str:
  """Returns the address of a reply: the question, and who is asked."""
  # The empty list stands where version 0.1 had a history, so that what was
  # stored then is found.
  return _hash([
      identity.provider, identity.model, identity.prompt, question_key(query),
      []])


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
    patience: Seconds to wait where another program holds the file locked.

  Raises:
    StoreError: The file can't be opened, is not ours, or is newer than us.
  """

  def __init__(
      self, path: str | os.PathLike, durable: bool = True,
      readonly: bool = False, patience: float = database.PATIENCE):
    self.path = str(path)
    self.owner = f'{os.getpid()}-{time.time():.6f}'
    self._added = False
    self._db = database.Database(path, durable, readonly, patience)

  def get(self, key: str) -> dict | None:
    """Returns the stored reply as a dict, or None.

    Raises:
      StoreError: The row was damaged.
    """
    with self._db.read() as db:
      row = db.execute(
          'select * from replies where key = ?', (key,)).fetchone()
    return row and rowslib.parse(row)

  def load(
      self, identity: Identity, after: int = 0, limit: int = -1) -> list[dict]:
    """Returns the replies of an identity as dicts, the oldest first.

    Args:
      identity: Whose replies.
      after: Only those with a greater `seq`.
      limit: The most to return; -1 returns all. Damaged ones are left out,
        and not counted.
    """
    found, left = [], limit
    while True:
      rows = self._load(identity, after, left)
      found += [x for x in map(rowslib.try_parse, rows) if x]
      if limit < 0 or len(rows) < left or len(found) == limit:
        return found
      left, after = limit - len(found), rows[-1]['seq']

  def _load(self, identity, after, limit):
    with self._db.read() as db:
      return db.execute(
          'select * from replies where provider = ? and model = ?'
          ' and prompt = ? and seq > ? order by seq limit ?',
          (identity.provider, identity.model, identity.prompt, after, limit)
          ).fetchall()

  def since(
      self, after: int, limit: int = 256) -> list[tuple[int, dict | None]]:
    """Returns the replies of all identities after a `seq`, the oldest first.

    A damaged row is None.

    Returns:
      Pairs of `seq` and row; at most `limit`.
    """
    with self._db.read() as db:
      rows = db.execute(
          'select * from replies where seq > ? order by seq limit ?',
          (after, limit)).fetchall()
    return [(x['seq'], rowslib.try_parse(x)) for x in rows]

  def latest(self) -> tuple[int, str]:
    """Returns `seq` and key of the last reply; 0 and '' if there is none."""
    with self._db.read() as db:
      row = db.execute(
          'select seq, key from replies order by seq desc limit 1').fetchone()
    return tuple(row) if row else (0, '')

  def changed(self) -> bool:
    """Returns whether others' replies may have come since the last time."""
    out = self._db.changed() or self._added
    self._added = False
    return out

  def add(self, row: dict) -> None:
    """Stores a reply of another file, which cost nothing here."""
    # One that is damaged is there, too.
    if not self.query('select 1 from replies where key = ?', (row['key'],)):
      self.copy(None, row)
      self._added = True

  def identities(self) -> list[tuple[Identity, int]]:
    """Returns whose replies there are, with their number, the most first."""
    with self._db.read() as db:
      rows = db.execute(
          'select provider, model, prompt, count(*) from replies'
          ' group by provider, model, prompt'
          ' order by count(*) desc, provider, model, prompt').fetchall()
    return [(Identity(*row[:3]), row[3]) for row in rows]

  def worlds(self) -> dict[str, int]:
    """Returns how many replies there are, by version of the world."""
    with self._db.read() as db:
      return {version: count for version, count in db.execute(
          'select describer, count(*) from replies group by describer')}

  def reserve(
      self, account: str, key: str,
      terms: Terms = Terms()) -> tuple[int | None, str]:
    """Sets aside one call, if the account's caps allow it.

    Args:
      account: Who pays; one cap for all that name the same.
      key: Result of `reply_key`.
      terms: See `Terms`.

    Returns:
      (ticket, ''), or (None, reason): 'budget' if a cap would be exceeded,
      'stored' if the reply arrived meanwhile, 'pending' if somebody holds a
      reservation for this reply, or died with one not long ago, 'failed' if
      its answers could not be read.
    """
    with self._db.write() as db:
      if not terms.again:
        reason = _elsewhere(db, account, key, terms, self.owner)
        if reason:
          return None, reason
      spent, caps = _spent(db, account), terms.caps
      if (0 <= caps.calls < spent['calls'] + 1 or
          0 <= caps.tokens < spent['tokens'] + terms.tokens or
          # A cent in a billion for sums of floats.
          0 <= caps.money < spent['money'] + terms.money - 1e-9):
        return None, 'budget'
      ticket = db.execute(
          'insert into ledger (account, key, status, tokens, money, owner,'
          " reserved) values (?, ?, 'reserved', ?, ?, ?, ?)",
          (account, key, terms.tokens, terms.money, self.owner, time.time())
          ).lastrowid
    return ticket, ''

  def settle(
      self, ticket: int, identity: Identity, query: types.Query,
      reply: types.Reply, parser: int = 1) -> dict:
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
        key=reply_key(identity, query), state=question_key(query),
        provider=identity.provider, model=identity.model,
        prompt=identity.prompt, describer=desc.version, mode=query.mode,
        text=desc.text, mission=desc.mission, candidates=query.candidates,
        scores=reply.scores, raw=reply.raw, parser=parser,
        tokens_in=reply.tokens_in, tokens_out=reply.tokens_out,
        money=reply.money, seconds=reply.seconds, created=time.time()))

  def copy(self, ticket: int | None, row: dict) -> dict:
    """Settles a call by a row as `get` returns it, perhaps of another file.

    Args:
      ticket: Result of `reserve`; None where nothing was paid here.
      row: Columns of `replies`; others are left out.

    Returns:
      The stored reply as `get` returns it.
    """
    read, written = map(
        rowslib.count, (row['tokens_in'], row['tokens_out']))
    tokens: float | None = (
        None if read is None or written is None else read + written)
    with self._db.write() as db:
      booked = db.execute(
          'select tokens, money from ledger where id = ?', (ticket,)
          ).fetchone()
      money = rowslib.amount(row['money'])
      if booked:
        tokens = rowslib.bounded(tokens, booked['tokens'])
        money = rowslib.bounded(money, booked['money'])
      row = {**row, 'tokens_in': read, 'tokens_out': written, 'money': money}
      values = rowslib.columns(row)
      added = db.execute(
          'insert or ignore into replies'
          f' ({", ".join(rowslib.COLUMNS)}) values'
          f' ({", ".join("?" * len(rowslib.COLUMNS))})', values).rowcount
      # A second reply to the same question is kept as it came.
      db.execute(
          "update ledger set status = 'settled', tokens = ?, money = ?,"
          ' settled = ?, raw = coalesce(?, raw) where id = ?',
          (tokens, money, time.time(),
           None if added else rowslib.plain(row['raw']), ticket))
      stored = db.execute(
          'select * from replies where key = ?', (row['key'],)).fetchone()
    return rowslib.parse(stored)

  def fail(
      self, ticket: int, tokens: int | None = None, money: float | None = None,
      raw: str = '', reason: str = '') -> None:
    """Closes a reservation whose call brought no reply that can be read.

    The call still counts, and so do the tokens and the money set aside,
    unless it is known what was spent. What was paid for is kept as it came.

    Args:
      ticket: Result of `reserve`.
      tokens: Tokens that were spent; None if unknown.
      money: US dollars that were spent; None if unknown.
      raw: The answer, if one arrived.
      reason: 'unreadable' if asking again may bring no better answer.
    """
    with self._db.write() as db:
      booked = db.execute(
          'select tokens, money from ledger where id = ?', (ticket,)
          ).fetchone()
      db.execute(
          "update ledger set status = 'failed', settled = ?, raw = ?,"
          ' reason = ?, tokens = ?, money = ? where id = ?',
          (time.time(), rowslib.plain(raw), reason,
           rowslib.bounded(rowslib.count(tokens), booked['tokens']),
           rowslib.bounded(rowslib.amount(money), booked['money']), ticket))

  def release(self, ticket: int) -> None:
    """Undoes a reservation whose call was certainly not paid."""
    with self._db.write() as db:
      db.execute('delete from ledger where id = ?', (ticket,))

  def spent(self, account: str) -> dict[str, float]:
    """Returns calls, tokens and money of an account, reservations included."""
    with self._db.read() as db:
      return _spent(db, account)

  def accounts(self) -> list[str]:
    """Returns the names of all accounts, the ones with most calls first."""
    with self._db.read() as db:
      rows = db.execute('select name from accounts order by calls desc, name')
      return [x[0] for x in rows]

  def carry(self, account: str, spent: dict[str, float]) -> None:
    """Makes an account's count at least what was spent by then.

    The file that counted may be gone; calls are not given back by that.

    Args:
      account: Its name.
      spent: As `spent` returns it.
    """
    with self._db.write() as db:
      db.execute(
          'insert into accounts values (?, ?, ?, ?) on conflict (name) do'
          ' update set calls = max(calls, excluded.calls),'
          ' tokens = max(tokens, excluded.tokens),'
          ' money = max(money, excluded.money)',
          (account, int(spent['calls']), int(spent['tokens']),
           float(spent['money'])))

  def note(self, name: str) -> str | None:
    """Returns what is noted in the file under a name, None if nothing is."""
    with self._db.read() as db:
      row = db.execute(
          'select value from notes where name = ?', (name,)).fetchone()
    return row and row[0]

  def annotate(self, name: str, value: Any) -> str:
    """Notes something in the file, unless it is noted already.

    Returns:
      What is noted.
    """
    with self._db.write() as db:
      db.execute(
          'insert or ignore into notes values (?, ?)', (name, str(value)))
    return str(self.note(name))

  def query(self, sql: str, args: Sequence = ()) -> list[tuple]:
    """Returns the rows of a query that only reads, for reports.

    Raises:
      StoreError: The file can't be read, or holds no such tables.
    """
    with self._db.read() as db:
      try:
        return [tuple(x) for x in db.execute(sql, args)]
      except sqlite3.Error as e:
        raise errors.StoreError(f'{self.path!r} cannot be read: {e}.') from e

  def close(self) -> None:
    """Closes the file. May be called twice."""
    self._db.close()


def _spent(db, account):
  row = db.execute(
      'select calls, tokens, money from accounts where name = ?', (account,)
      ).fetchone()
  return dict(row) if row else {'calls': 0, 'tokens': 0, 'money': 0.0}


def _elsewhere(db, account, key, terms, owner):
  """Returns why a reply needs no call, or is in vain; '' otherwise."""
  if db.execute('select 1 from replies where key = ?', (key,)).fetchone():
    return 'stored'
  if terms.once and db.execute(
      "select 1 from ledger where key = ? and status != 'settled'"
      " and status = 'reserved' and (owner = ? or reserved > ?)",
      (key, owner, time.time() - terms.patience)).fetchone():
    return 'pending'
  tries, = db.execute(
      "select count(*) from ledger where key = ? and status != 'settled'"
      " and status = 'failed' and reason = 'unreadable' and account = ?",
      (key, account)).fetchone()
  return 'failed' if tries >= terms.tries else ''
