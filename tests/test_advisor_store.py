import multiprocessing
import os
import sqlite3

import pytest

from lore_plugin import errors
from lore_plugin.advisor import store as storelib
from lore_plugin.advisor.store import Caps, Identity, Store, Terms
from lore_plugin.advisor.types import Description, Query, Reply

IDENTITY = Identity('mock', 'm', 'p-1')


def query(text='a', candidates=('x', 'y'), version='d-1'):
  desc = Description(text, 'mission', ('l', 'r'), version=version)
  return Query(desc, candidates, 'action')


def settle(store, item, account='run', identity=IDENTITY, **kwargs):
  ticket, reason = store.reserve(
      account, storelib.reply_key(identity, item))
  assert not reason
  return store.settle(
      ticket, identity, item, Reply((0.0, -1.0), **kwargs))


class TestKeys:

  def test_every_part_counts(self):
    base = storelib.reply_key(IDENTITY, query())
    others = [
        storelib.reply_key(Identity('other', 'm', 'p-1'), query()),
        storelib.reply_key(Identity('mock', 'n', 'p-1'), query()),
        storelib.reply_key(Identity('mock', 'm', 'p-2'), query()),
        storelib.reply_key(IDENTITY, query('b')),
        storelib.reply_key(IDENTITY, query(candidates=('y', 'x'))),
        storelib.reply_key(IDENTITY, query(version='d-2')),
    ]
    assert len({base, *others}) == 7

  def test_fields_do_not_run_together(self):
    one = query(candidates=('x,y', 'z'))
    two = query(candidates=('x', 'y,z'))
    assert storelib.question_key(one) != storelib.question_key(
        two)

  def test_lone_surrogate(self):
    assert storelib.question_key(query('\ud800'))


class TestReplies:

  def test_comes_back_as_it_was(self, tmp_path):
    store = Store(tmp_path / 'a.sqlite')
    item = query('Schlüssel 🔑')
    settle(store, item, raw='{"r": 1}', tokens_in=3, money=0.25)
    store.close()
    row = Store(tmp_path / 'a.sqlite').get(
        storelib.reply_key(IDENTITY, item))
    assert row['text'] == 'Schlüssel 🔑'
    assert row['raw'] == '{"r": 1}'
    assert row['scores'] == (0.0, -1.0)
    assert row['candidates'] == ('x', 'y')
    assert (row['tokens_in'], row['money']) == (3, 0.25)

  @pytest.mark.parametrize('words', [
      'build a basic workbench', 'You met the bearer: Boromir, a bearer '
      'ofgreatthings', 'take the pk_crystal-of-doom', 'see //a@b',
      'the word is swordfish'])
  def test_what_looks_like_a_secret(self, words, monkeypatch):
    """The world's words stay as they are; the provider's are masked."""
    monkeypatch.setenv('SOME_TOKEN', 'swordfish')
    store = Store(':memory:')
    item = Query(
        Description(words, words, ('l', 'r'), version=words), (words, 'y'),
        'subgoal')
    row = settle(
        store, item, identity=Identity(words, words, words), raw=words)
    assert {row[x] for x in (
        'text', 'mission', 'describer', 'provider', 'model', 'prompt')} == {
            words}
    assert row['candidates'] == (words, 'y')
    assert row['key'] == storelib.reply_key(
        Identity(words, words, words), item)
    assert '***' in row['raw'] and row['raw'] != words
    assert store.load(Identity(words, words, words)) == [row]

  def test_load_keeps_identities_apart(self):
    store = Store(':memory:')
    settle(store, query())
    other = Identity('mock', 'other', 'p-1')
    settle(store, query(), identity=other)
    assert len(store.load(IDENTITY)) == 1
    assert store.load(other)[0]['model'] == 'other'

  def test_hostile_text(self):
    store = Store(':memory:')
    text = "'); drop table replies; -- \0 \ud800"
    assert settle(store, query(text), raw=text)
    assert len(store.load(IDENTITY)) == 1


  def test_news(self, tmp_path):
    ours, theirs = (Store(tmp_path / 'a.sqlite') for _ in range(2))
    assert not ours.changed()
    settle(theirs, query('a'))
    assert ours.changed() and not ours.changed()
    seen = ours.load(IDENTITY)[-1]['seq']
    settle(ours, query('b'))
    assert not ours.changed()
    assert [x['text'] for x in ours.load(IDENTITY, seen)] == ['b']
    assert ours.identities() == [(IDENTITY, 2)]


class TestReadOnly:

  def test_reads(self, tmp_path):
    path = tmp_path / 'a.sqlite'
    store = Store(path)
    settle(store, query())
    store.close()
    before = path.read_bytes()
    store = Store(path, readonly=True)
    assert len(store.load(IDENTITY)) == 1
    with pytest.raises(sqlite3.OperationalError, match='readonly'):
      store.reserve('run', 'a')
    store.close()
    assert path.read_bytes() == before

  def test_missing(self, tmp_path):
    with pytest.raises(errors.StoreError, match='no file'):
      Store(tmp_path / 'a.sqlite', readonly=True)
    assert not list(tmp_path.iterdir())


class TestLedger:

  def test_calls_are_capped(self):
    store = Store(':memory:')
    assert store.reserve('run', 'a', Terms(Caps(calls=2)))[0]
    assert store.reserve('run', 'b', Terms(Caps(calls=2)))[0]
    assert store.reserve('run', 'c', Terms(Caps(calls=2))) == (None, 'budget')
    assert store.reserve('other', 'c', Terms(Caps(calls=2)))[0]

  @pytest.mark.parametrize('caps', [
      Caps(calls=0), Caps(tokens=99), Caps(money=0.49)])
  def test_first_call_may_be_too_much(self, caps):
    store = Store(':memory:')
    assert store.reserve(
        'run', 'a', Terms(caps, 100, 0.5)) == (None, 'budget')

  def test_settling_gives_back_what_was_not_used(self):
    store = Store(':memory:')
    caps = Caps(tokens=150)
    ticket, _ = store.reserve('run', 'a', Terms(caps, 100))
    assert store.reserve('run', 'b', Terms(caps, 100))[1] == 'budget'
    store.settle(
        ticket, IDENTITY, query(), Reply((0.0, 0.0), tokens_in=30))
    assert store.spent('run')['tokens'] == 30
    assert store.reserve('run', 'b', Terms(caps, 100))[0]

  def test_failed_calls_count(self):
    store = Store(':memory:')
    ticket, _ = store.reserve('run', 'a', Terms(Caps(calls=1), 100, 1.0))
    store.fail(ticket, 7, 0.5)
    assert store.spent('run') == {'calls': 1, 'tokens': 7, 'money': 0.5}
    assert store.reserve('run', 'b', Terms(Caps(calls=1))) == (None, 'budget')

  def test_failed_call_of_unknown_cost(self):
    store = Store(':memory:')
    store.fail(store.reserve('run', 'a', Terms(Caps(), 100, 1.0))[0])
    assert store.spent('run') == {'calls': 1, 'tokens': 100, 'money': 1.0}

  def test_calls_that_were_not_paid(self):
    store = Store(':memory:')
    store.release(store.reserve('run', 'a', Terms(Caps(calls=1), 100, 1.0))[0])
    assert store.spent('run') == {'calls': 0, 'tokens': 0, 'money': 0.0}
    assert store.reserve('run', 'a', Terms(Caps(calls=1)))[0]

  def test_one_call_for_a_state(self):
    store = Store(':memory:')
    key = storelib.reply_key(IDENTITY, query())
    ticket, _ = store.reserve('run', key)
    assert store.reserve('run', key) == (None, 'pending')
    assert store.reserve('run', key, Terms(once=False))[0]
    store.settle(ticket, IDENTITY, query(), Reply((0.0, 0.0)))
    assert store.reserve('run', key) == (None, 'stored')

  def test_unsettled_call_counts_for_ever(self, tmp_path):
    Store(tmp_path / 'a').reserve('run', 'a', Terms(Caps(calls=1), 10, 0.5))
    store = Store(tmp_path / 'a')
    assert store.spent('run') == {'calls': 1, 'tokens': 10, 'money': 0.5}
    assert store.reserve('run', 'b', Terms(Caps(calls=1))) == (None, 'budget')

  def test_another_process_that_died_holds_up_nobody_for_ever(
      self, tmp_path, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(storelib.time, 'time', lambda: now[0])
    dead = Store(tmp_path / 'a')
    now[0] += 1
    store = Store(tmp_path / 'a')
    terms = Terms(Caps(calls=3), patience=80.0)
    assert dead.reserve('run', 'a', terms)[0]
    assert store.reserve('run', 'b', terms)[0]
    now[0] += 79
    assert store.reserve('run', 'a', terms) == (None, 'pending')
    now[0] += 2
    assert store.reserve('run', 'a', Terms()) == (None, 'pending')
    assert store.reserve('run', 'a', terms)[0]
    # The new one holds up others in its turn, and both count.
    assert dead.reserve('run', 'a', terms) == (None, 'pending')
    assert store.spent('run')['calls'] == 3
    # What is under way here is known to be, however long it takes.
    assert store.reserve('run', 'b', terms) == (None, 'pending')

  def test_sums_of_cents(self):
    store = Store(':memory:')
    caps = Caps(money=0.3)
    for name in 'abc':
      assert store.reserve('run', name, Terms(caps, money=0.1))[0]
    assert store.reserve('run', 'd', Terms(caps, money=0.1))[1] == 'budget'

  @pytest.mark.process
  def test_processes_share_one_cap(self, tmp_path):
    context = multiprocessing.get_context('spawn')
    path = str(tmp_path / 'a.sqlite')
    jobs = [
        context.Process(target=spend, args=(path, i)) for i in range(3)]
    [x.start() for x in jobs]
    [x.join() for x in jobs]
    assert [x.exitcode for x in jobs] == [0, 0, 0]
    store = Store(path)
    assert store.spent('run')['calls'] == 40
    assert len(store.load(IDENTITY)) == 40


def spend(path, number):
  store = Store(path, durable=False, patience=300.0)
  for i in range(30):
    item = query(f'{number} {i}')
    ticket, _ = store.reserve(
        'run', storelib.reply_key(IDENTITY, item), Terms(Caps(calls=40)))
    if ticket:
      store.settle(ticket, IDENTITY, item, Reply((0.0, 0.0)))


class TestBadFiles:

  def test_not_sqlite(self, tmp_path):
    path = tmp_path / 'a.sqlite'
    path.write_text('hello ' * 1000)
    with pytest.raises(errors.StoreError, match='lore.advisor.store'):
      Store(path)
    assert path.read_text() == 'hello ' * 1000

  def test_another_program(self, tmp_path):
    path = tmp_path / 'a.sqlite'
    with sqlite3.connect(path) as db:
      db.execute('create table t (x)')
    with pytest.raises(errors.StoreError, match='another program'):
      Store(path)

  def test_newer_version(self, tmp_path):
    path = tmp_path / 'a.sqlite'
    Store(path).close()
    with sqlite3.connect(path) as db:
      db.execute('pragma user_version = 99')
    with pytest.raises(errors.StoreError, match='newer LoRe .format 99'):
      Store(path)

  def test_folder_instead_of_a_file(self, tmp_path):
    with pytest.raises(errors.StoreError, match='store PATH'):
      Store(tmp_path)

  def test_read_only_folder(self, tmp_path):
    tmp_path.chmod(0o500)
    user = os.geteuid()
    if user == 0:
      os.seteuid(65534)  # Root may write anywhere.
    try:
      with pytest.raises(errors.StoreError):
        Store(tmp_path / 'a.sqlite')
    finally:
      os.seteuid(user)

  def test_file_in_place_of_the_folder(self, tmp_path):
    (tmp_path / 'file').write_text('x')
    with pytest.raises(errors.StoreError):
      Store(tmp_path / 'file' / 'a.sqlite')

  def test_empty_file_is_a_new_one(self, tmp_path):
    (tmp_path / 'a.sqlite').touch()
    assert Store(tmp_path / 'a.sqlite').load(IDENTITY) == []
