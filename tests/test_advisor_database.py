"""Files that are old, damaged, huge, or held by another program."""

import contextlib
import json
import sqlite3
import time

import numpy as np
import pytest
from advising import consider, encode

from lore_plugin import errors
from lore_plugin.advisor import advisor as service
from lore_plugin.advisor import database
from lore_plugin.advisor import replay
from lore_plugin.advisor import rows as rowslib
from lore_plugin.advisor import store as storelib
from lore_plugin.advisor.providers.mock import Mock
from lore_plugin.advisor.store import Caps, Identity, Store, Terms
from lore_plugin.advisor.types import Description, Query, Reply

IDENTITY = Identity('mock', 'mock', 'subgoal-1')

# The tables of format 1, as version 0.1 made them.
FORMAT_1 = """
create table replies (
  seq integer primary key autoincrement, key text not null unique,
  state text not null, provider text not null, model text not null,
  prompt text not null, describer text not null, mode text not null,
  text text not null, mission text not null, candidates text not null,
  history text not null, scores text not null, raw text not null,
  parser integer not null, tokens_in integer not null,
  tokens_out integer not null, money real not null, seconds real not null,
  created real not null);
create index replies_by_provider on replies (provider, model, prompt);
create table ledger (
  id integer primary key, account text not null, key text not null,
  status text not null check (status in ('reserved', 'settled', 'failed')),
  tokens integer not null, money real not null, owner text not null,
  reserved real not null, settled real, raw text not null default '');
create index ledger_by_account on ledger (account);
create index ledger_by_key on ledger (key);
pragma application_id = 1282364005;
pragma user_version = 1;
"""


def query(text='a', candidates=('key', 'look')):
  desc = Description(text, 'mission', ('l', 'r'), version='t-1')
  return Query(desc, candidates, 'subgoal')


def settle(store, item, identity=IDENTITY):
  ticket, reason = store.reserve('run', storelib.reply_key(identity, item))
  assert not reason
  return store.settle(ticket, identity, item, Reply((0.0, -1.0)))


def hold(path):
  """Takes the write lock, as another program would."""
  db = sqlite3.connect(path, isolation_level=None)
  db.execute('begin immediate')
  return db


@pytest.fixture
def meddle(monkeypatch):
  """Lets something happen just before one statement of all that are run."""
  connect, count = database.connect, [0]

  def start(when, what):

    def statement(_):
      count[0] += 1
      if count[0] == when:
        what()

    def traced(*args, **kwargs):
      db = connect(*args, **kwargs)
      db.set_trace_callback(statement)
      return db

    monkeypatch.setattr(database, 'connect', traced)
    return count

  return start


def migrate_elsewhere(path, version):
  """What another process does that opens the file at the same time."""
  with contextlib.closing(
      sqlite3.connect(path, timeout=0, isolation_level=None)) as db:
    try:
      db.execute('begin immediate')
      database.migrate(db, version)
      db.execute('commit')
    except sqlite3.OperationalError as e:
      assert database.locked(e)


class TestLocked:

  def test_waits_once_and_then_rests(self, tmp_path, monkeypatch):
    store = Store(tmp_path / 'a.sqlite', patience=0.01)
    settle(store, query('known'))
    other = hold(store.path)
    with pytest.raises(errors.StoreError, match='is locked by another'):
      store.reserve('run', 'a')
    # Not looked at again before the rest is over: no clock, no waiting.
    with pytest.raises(errors.StoreError, match='looked at again in a while'):
      store.reserve('run', 'a')
    assert len(store.load(IDENTITY)) == 1
    assert store.spent('run')['calls'] == 1
    other.execute('rollback')
    clock = time.monotonic
    monkeypatch.setattr(
        database.time, 'monotonic', lambda: clock() + database.REST[0] + 1)
    assert store.reserve('run', 'a')[0]

  def test_rests_grow_up_to_a_bound(self, tmp_path, monkeypatch):
    store = Store(tmp_path / 'a.sqlite', patience=0.01)
    monkeypatch.setattr(database, 'GLANCE', 0.001)
    now = [0.0]
    monkeypatch.setattr(database.time, 'monotonic', lambda: now[0])
    other = hold(store.path)
    rests = []
    for _ in range(9):
      with pytest.raises(errors.StoreError, match='is locked'):
        store.reserve('run', 'a')
      rests.append(store._db._until - now[0])
      now[0] = store._db._until
    assert rests == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    other.close()

  def test_training_goes_on(self, tmp_path):
    store = Store(tmp_path / 'a.sqlite', patience=0.01)
    provider = Mock()
    advisor = service.Advisor(provider, 4, store=store)
    consider(advisor, 'known')
    other = hold(store.path)
    for i in range(50):
      _, valid = consider(advisor, 'known', f't{i}')
      assert valid.tolist() == [True, False]
    assert len(provider.queries) == 1
    assert advisor.stats()['failures_store'] == 50
    other.close()
    advisor.close()

  def test_opens_beside_a_writer(self, tmp_path):
    path = tmp_path / 'a.sqlite'
    Store(path).close()
    other = hold(path)
    store = Store(path, patience=0.01)
    assert store.load(IDENTITY) == []
    store.close()
    other.close()


class TestAtOnce:

  @pytest.mark.parametrize('when', range(1, 25))
  def test_another_creates_it(self, tmp_path, meddle, when):
    path = tmp_path / 'a.sqlite'
    count = meddle(when, lambda: migrate_elsewhere(path, 0))
    store = Store(path, patience=0.01)
    assert count[0] >= min(when, 10)
    settle(store, query())
    assert len(store.load(IDENTITY)) == 1
    store.close()


class TestOld:

  @pytest.fixture
  def old(self, tmp_path):
    path = tmp_path / 'a.sqlite'
    db = sqlite3.connect(path)
    db.executescript(FORMAT_1)
    for i, (text, history) in enumerate(
        [('a', '[]'), ('b', '[]'), ('b', '[["a", "left"]]')]):
      key = storelib.reply_key(IDENTITY, query(text))
      values = (
          key if history == '[]' else 'x', storelib.question_key(query(text)),
          *('mock', 'mock', 'subgoal-1', 't-1', 'subgoal', text, 'mission'),
          '["key", "look"]', history, json.dumps([float(i), 0.0]), 'raw', 1, 3,
          4, 0.25, 1.0, 2.0)
      db.execute(
          f'insert into replies values (null, {", ".join("?" * 19)})', values)
      db.execute(
          "insert into ledger values (null, 'run', ?, 'settled', 7, 0.25, 'o',"
          " 1.0, 2.0, '')", (key,))
    db.execute(
        "insert into ledger values (null, 'run', 'k', 'reserved', 100, 1.0,"
        " 'o', 1.0, null, '')")
    db.commit()
    db.close()
    return path

  def test_is_brought_up_to_date(self, old):
    for _ in range(2):
      store = Store(old)
      assert [x['text'] for x in store.load(IDENTITY)] == ['a', 'b']
      assert store.spent('run') == {'calls': 4, 'tokens': 121, 'money': 1.75}
      # What answered more than the question is kept, and not used.
      assert (Identity('mock', 'mock', 'subgoal-1+history'), 1) in (
          store.identities())
      assert store.reserve('run', 'k') == (None, 'pending')
      assert store.reserve('run', 'z', Terms(Caps(calls=4)))[1] == 'budget'
      store.close()

  def test_its_advice_is_found(self, old):
    provider = Mock()
    advisor = service.Advisor(provider, 4, store=Store(old))
    _, valid = consider(advisor, 'a', 'b')
    assert valid.all() and not provider.queries
    advisor.close()

  def test_reading_it_changes_nothing(self, old):
    before = old.read_bytes()
    store = Store(old, readonly=True)
    assert [x['text'] for x in store.load(IDENTITY)] == ['a', 'b']
    assert store.spent('run')['calls'] == 4
    store.close()
    provider = replay.Replay(old, 'mock', '', 'subgoal-1')
    assert provider.ask(query('b')).scores == (1.0, 0.0)
    provider.close()
    assert old.read_bytes() == before

  @pytest.mark.parametrize('readonly', [False, True])
  @pytest.mark.parametrize('when', range(1, 25))
  def test_another_brings_it_up_to_date(self, old, meddle, when, readonly):
    meddle(when, lambda: migrate_elsewhere(old, 1))
    store = Store(old, readonly=readonly, patience=0.01)
    assert [x['text'] for x in store.load(IDENTITY)] == ['a', 'b']
    assert store.spent('run')['calls'] == 4
    store.close()

  def test_several_may_open_it_at_once(self, old):
    first, second = Store(old), Store(old)
    assert first.spent('run') == second.spent('run')


class TestDamaged:

  @pytest.mark.parametrize('change', [f"scores = '{x}'" for x in (
      '[NaN, 0.0]', '[Infinity, 0.0]', '[0.0]', '[0.0, 1.0, 2.0]', '[]', '',
      '{', 'null', '7', '["x", "y"]', '[[1], [2]]', '1e400', '[1e400, 0]')] + [
          "parser = 'x'", "scores = x'00ff'", "candidates = '{}'",
          "candidates = '[]', scores = '[]'"])
  @pytest.mark.parametrize('mode', ['never', 'always'])
  def test_row_is_left_out(self, tmp_path, change, mode, caplog):
    path = tmp_path / 'a.sqlite'
    store = Store(path)
    for text in 'abc':
      settle(store, query(text))
    with store._db.write() as db:
      db.execute(f"update replies set {change} where text = 'b'")
    store.close()
    provider = Mock(calibrate=True)
    advisor = service.Advisor(
        provider, 4, service.Settings(calibrate=mode), store=Store(path))
    for _ in range(3):
      _, valid = consider(advisor, 'a', 'b', 'c')
      assert valid.tolist() == [True, False, True]
    # It is said, and the question is not paid for a second time.
    assert 'was damaged' in caplog.text
    assert not provider.queries
    assert np.isfinite(advisor.lookup(encode('a', 'b', 'c'))[0]).all()
    assert len(advisor.store.load(IDENTITY)) == 2
    advisor.close()

  def test_names_of_columns_from_outside(self):
    store = Store(':memory:')
    row = dict(settle(Store(':memory:'), query('a')))
    row['key); drop table replies; --'] = 1
    store.add(row)
    assert store.load(IDENTITY)[0]['text'] == 'a'


class TestGrowth:
  """A call costs the same in a file of any size: counted, not timed."""

  def fill(self, store, rows, replies):
    with store._db.write() as db:
      db.executemany(
          'insert into ledger (account, key, status, tokens, money, owner,'
          " reserved) values ('run', ?, 'settled', 5, 0.25, 'o', 1.0)",
          ((f'k{i}',) for i in range(rows)))
    with store._db.write() as db:
      for i in range(replies):
        row = {
            **dict.fromkeys(rowslib.COLUMNS, 0), 'key': f'k{i}',
            'state': f's{i}', 'provider': 'mock', 'model': 'mock',
            'prompt': 'subgoal-1', 'candidates': ['key', 'look'],
            'scores': [0.0, 1.0]}
        db.execute(
            f'insert into replies ({", ".join(rowslib.COLUMNS)}) values'
            f' ({", ".join("?" * len(rowslib.COLUMNS))})',
            rowslib.columns(row))

  def cost(self, fn, *stores):
    """Returns how many instructions SQLite's machine takes."""
    count = [0]
    def note():
      count[0] += 1
    for store in stores:
      for db in (store._db._writer, store._db._reader):
        db.set_progress_handler(note, 1)
    fn()
    for store in stores:
      for db in (store._db._writer, store._db._reader):
        db.set_progress_handler(None, 1)
    return count[0]

  def test_cost_of_a_call(self, tmp_path):
    costs = []
    for size in (10, 4_000):
      store = Store(tmp_path / f'{size}.sqlite')
      self.fill(store, size, size // 4)
      provider = Mock()
      advisor = service.Advisor(
          provider, 4, store=store, caps=Caps(calls=10 ** 9, money=1e9))
      def step(advisor=advisor, size=size):
        for i in range(service.NEWS):
          consider(advisor, f'new {i}')
        advisor.save()
      costs.append(self.cost(step, store))
      assert len(provider.queries) == service.NEWS
      assert store.spent('run')['calls'] == size + service.NEWS
      advisor.close()
    small, large = costs
    assert 0 < large < 1.05 * small + 100

  def test_sums_follow_the_ledger(self):
    store = Store(':memory:')
    self.fill(store, 100, 0)
    ticket, _ = store.reserve('run', 'a', Terms(tokens=50, money=0.5))
    store.fail(ticket, 7)
    store.release(store.reserve('run', 'b', Terms(tokens=9, money=0.1))[0])
    settle(store, query())
    (sums,) = store.query(
        'select count(*), sum(tokens), sum(money) from ledger')
    spent = store.spent('run')
    assert (spent['calls'], spent['tokens']) == sums[:2] == (102, 507)
    assert spent['money'] == pytest.approx(sums[2])
