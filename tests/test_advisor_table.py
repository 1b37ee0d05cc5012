"""Questions and situations, and how little is kept of them."""

import pickle

import numpy as np
import pytest
from advising import WORDS, consider, describe, encode

from lore_plugin.advisor import advisor as service
from lore_plugin.advisor import replay
from lore_plugin.advisor import store as storelib
from lore_plugin.advisor import table
from lore_plugin.advisor.providers.mock import Mock

BOTH = (('key', (0,)), ('look', (1, 2)))
OTHER = (('key', (2,)), ('look', (0,)))


@pytest.fixture
def make():
  made = []

  def fn(provider=None, store=None, **kwargs):
    made.append(service.Advisor(
        provider or Mock(), len(WORDS), service.Settings(**kwargs),
        store=store))
    return made[-1]
  yield fn
  for advisor in made:
    advisor.close()


def load(advisor, saved, resumed=True):
  advisor.load(pickle.loads(pickle.dumps(saved)), resumed)
  return advisor


class TestInVain:

  @pytest.mark.parametrize('resumed', [True, False])
  @pytest.mark.parametrize('changes, want', [
      ({}, 0), ({'name': 'big'}, 1), ({'model': 'big'}, 1)])
  def test_only_for_whom_it_was(self, make, resumed, changes, want):
    first = make(Mock(default='no scores'))
    for _ in range(3):
      consider(first, 'a')
    assert first.stats()['failures_parse'] == 2
    provider = Mock()
    for name, value in changes.items():
      setattr(provider, name, value)
    second = load(make(provider), first.save(), resumed)
    valid = [consider(second, 'a')[1][0] for _ in range(3)]
    assert valid == [bool(want)] * 3 and len(provider.queries) == want
    # Nor where another one is there to be asked besides.
    both = load(make([Mock(), provider]), first.save(), resumed)
    assert consider(both, 'a')[1].all()

  def test_what_a_replay_lacks_can_be_asked(self, make, tmp_path):
    path = tmp_path / 'a.sqlite'
    first = make(store=storelib.Store(path))
    consider(first, 'a')
    lacks = make(replay.Replay(path))
    for _ in range(2):
      consider(lacks, 'z')
    assert lacks.stats()['refused_failed'] == 1
    assert consider(load(make(), lacks.save()), 'z')[1].all()
    # It will lack that the next time, too.
    again = load(make(replay.Replay(path)), lacks.save())
    assert not consider(again, 'z')[1].any()
    assert again.stats()['refused_failed'] == 2


class TestQuestionAndSituation:

  def test_changing_a_skill_asks_nothing_anew(self, make, tmp_path):
    path = tmp_path / 'a.sqlite'
    provider = Mock(default=(5.0, 0.0))
    advisor = make(provider, storelib.Store(path))
    prior, _ = consider(
        advisor, describe('a', BOTH), describe('a', OTHER))
    # One question, and its answer pursued in two ways.
    assert len(provider.queries) == 1
    assert prior.argmax(1).tolist() == [0, 2]
    assert advisor.stats()['states'] == 2
    assert advisor.stats()['answered'] == 1
    advisor.close()
    # The same with a file from before the change.
    advisor = make(provider, storelib.Store(path))
    prior, valid = consider(advisor, describe('a', (('key', (1,)), BOTH[1])))
    assert valid.all() and prior[0].argmax() == 1
    assert len(provider.queries) == 1

  @pytest.mark.parametrize('masked', [False, True])
  def test_words_that_look_like_a_secret(self, make, tmp_path, masked):
    """Also where an earlier version masked what was paid for."""
    path = tmp_path / 'a.sqlite'
    desc = describe('a', (('build a basic workbench', (0,)), ('look', (1,))))
    provider = Mock(default=(5.0, 0.0), paid=True)
    advisor = make(provider, storelib.Store(path), ask='sync')
    assert consider(advisor, desc)[0][0].argmax() == 0
    advisor.close()
    store = storelib.Store(path)
    if masked:
      with store._db.write() as db:
        db.execute(
            'update replies set candidates = ?',
            ('["build a basic ***", "look"]',))
    advisor = make(provider, store, ask='sync')
    for _ in range(3):
      prior, valid = consider(advisor, desc)
      assert valid.all() and prior[0].argmax() == 0
    assert len(provider.queries) == 1
    assert advisor.stats()['hits'] == 3
    assert 'shared' not in advisor.stats()

  def test_an_answer_that_comes_late_serves_all_its_situations(self, make):
    advisor = make(Mock(paid=True))
    states = encode(describe('a', BOTH), describe('a', OTHER))
    assert not advisor.lookup(states)[1].any()
    consider(advisor, describe('a', BOTH))
    advisor._pool.shutdown(wait=True)
    consider(advisor, 'z')
    assert advisor.lookup(states)[1].all()

  def test_what_is_decided_depends_on_the_skills(self, make):
    provider = Mock()
    advisor = make(provider)
    one = describe('a', (('key', (0,)), ('look', ())))
    _, valid = consider(advisor, one)
    assert valid.all() and not provider.queries
    _, valid = consider(advisor, describe('a', BOTH))
    assert valid.all() and len(provider.queries) == 1

  def test_words_of_the_choices_are_the_question(self, make):
    provider = Mock()
    advisor = make(provider)
    consider(advisor, describe('a', BOTH))
    consider(advisor, describe('a', (('door', (0,)), BOTH[1])))
    assert len(provider.queries) == 2


class TestBounds:

  def test_memory_and_checkpoint(self, make, monkeypatch):
    monkeypatch.setattr(table, 'MEMO', 50)
    monkeypatch.setattr(table.Names, 'LARGEST', 50)
    advisor = make()
    sizes = []
    for i in range(600):
      consider(advisor, f'{i}')
      if i % 100 == 99:
        sizes.append(len(pickle.dumps(advisor.save())))
      assert len(advisor.table) <= 50
    assert max(sizes) < sizes[0] + 50
    # What was forgotten is known all the same.
    assert advisor.lookup(encode('0', '300'))[1].all()
    assert advisor.stats()['calls'] == 600

  @pytest.mark.parametrize('calibrate', ['always', 'never'])
  def test_forgetting_changes_no_advice(self, make, monkeypatch, calibrate):
    scores = lambda query: (float(len(query.description.text)), 1.0)
    texts = ['a' * (1 + i % 7) + f'{i}' for i in range(40)]
    tables = []
    for memo in (10 ** 4, 7):
      monkeypatch.setattr(table, 'MEMO', memo)
      advisor = make(Mock(default=scores, calibrate=True), calibrate=calibrate)
      for text in texts:
        consider(advisor, text)
      tables.append([advisor.lookup(encode(x))[0].tobytes() for x in texts])
    assert tables[0] == tables[1]

  @pytest.mark.parametrize('calibrate', ['always', 'never'])
  def test_a_new_process_gives_the_same_advice(
      self, make, tmp_path, calibrate):
    rng = np.random.default_rng(0)
    provider = Mock(default=lambda query: rng.normal(size=2), calibrate=True)
    texts = [f'{i}' for i in range(30)]
    path = tmp_path / 'a.sqlite'
    first = make(provider, storelib.Store(path), calibrate=calibrate)
    # Another process writes to the same file in between.
    second = make(provider, storelib.Store(path), calibrate=calibrate)
    for i, text in enumerate(texts):
      consider((first, second)[i % 2], text)
    for advisor in (first, second):
      for _ in range(service.NEWS):
        consider(advisor, 'end')
    third = make(provider, storelib.Store(path), calibrate=calibrate)
    want = third.lookup(encode(*texts))[0]
    for advisor in (first, second):
      np.testing.assert_array_equal(advisor.lookup(encode(*texts))[0], want)


def test_names_forget_the_earliest(monkeypatch):
  monkeypatch.setattr(table.Names, 'LARGEST', 3)
  names = table.Names(['z'])
  for name in ('a' * 64, 'b' * 64, 'c' * 64):
    names.add(name)
  assert 'z' not in names and 'a' * 64 in names
  assert table.Names(names.save()).save() == [x * 16 for x in 'abc']
