import dataclasses
import json
import logging
import time

import numpy as np
import pytest
from advising import WORDS, SIZE, consider, describe, encode

from lore_plugin import errors
from lore_plugin.advisor import advisor as service
from lore_plugin.advisor import store as storelib
from lore_plugin.advisor import table
from lore_plugin.advisor.policy import Limits
from lore_plugin.advisor.providers.mock import Mock
from lore_plugin.advisor.types import Reply


@pytest.fixture
def make():
  made = []

  def fn(provider=None, **kwargs):
    settings = {
        x.name: kwargs.pop(x.name)
        for x in dataclasses.fields(service.Settings) if x.name in kwargs}
    made.append(service.Advisor(
        provider or Mock(), len(WORDS), service.Settings(**settings),
        **kwargs))
    return made[-1]
  yield fn
  for advisor in made:
    advisor.close()


class TestLookup:

  def test_unknown_state(self, make):
    prior, valid = make().lookup(encode('a', 'b'))
    assert prior.dtype == np.float32
    assert prior.shape == (2, 4)
    assert not prior.any()
    assert not valid.any()

  def test_advice_follows_a_call(self, make):
    advisor = make(smoothing=0.25)
    prior, valid = consider(advisor, 'a')
    # The mock scores 0 and -1: p(key) = 1 / (1 + e^-1) = 0.731.
    want = np.log([0.981059, 0.384471, 0.384471])
    np.testing.assert_allclose(prior[0, :3], want - want.mean(), atol=1e-5)
    assert valid.all()

  def test_many_states_grow_the_table(self, make):
    advisor = make()
    texts = [f't{i}' for i in range(300)]
    for text in texts:
      consider(advisor, text)
    prior, valid = advisor.lookup(encode(*texts))
    assert valid.all()
    assert (prior == prior[:1]).all()

  def test_events_are_not_part_of_the_state(self, make):
    advisor = make()
    consider(advisor, describe(events=('key taken',)))
    assert advisor.lookup(encode(describe()))[1].all()
    assert advisor.stats()['states'] == 1

  @pytest.mark.parametrize('data', [
      b'', b'hello', b'[]', b'{"a": 1}', b'[1, 2, 3, 4, 5, 6]', b'\xff\xfe',
      b'["t", "m", ["a"], [], [], "v"]', b'null', b'[[[[[[',
      b'["t","m",["l","r","f",""],[["g",["x"]]],[],"v"]',
  ])
  def test_undecodable_states(self, make, data):
    advisor = make()
    states = np.zeros((1, SIZE), np.uint8)
    states[0, :len(data)] = np.frombuffer(data, np.uint8)
    advisor.consider(states, [0], [0.0], [0.0], [False], [False])
    prior, valid = advisor.lookup(states)
    assert not valid.any() and not prior.any()
    assert advisor.stats()['failures'] > 0

  def test_memory_is_bounded(self, make, monkeypatch):
    monkeypatch.setattr(table, 'MEMO', 10)
    advisor = make()
    consider(advisor, 'known')
    for i in range(25):
      advisor.lookup(encode(f't{i}'))
    assert advisor.stats()['states'] <= 10
    assert advisor.lookup(encode('known'))[1].all()


class TestAsking:

  def test_each_state_once(self, make):
    advisor = make()
    for _ in range(3):
      consider(advisor, 'a', 'a', 'b')
    stats = advisor.stats()
    assert stats['calls'] == 2
    assert stats['misses'] == 3
    assert stats['hits'] == 6
    assert stats['refused_pending'] == 1

  def test_query(self, make):
    provider = Mock()
    consider(make(provider), describe(events=('door opened',)))
    query, = provider.queries
    assert query.candidates == ('key', 'look')
    assert query.mode == 'subgoal'
    assert query.description == describe()

  def test_action_mode(self, make):
    provider = Mock()
    prior, valid = consider(make(provider, mode='action'), 'a')
    assert provider.queries[0].candidates == ('left', 'right', 'forward')
    np.testing.assert_allclose(prior[0], [1.0, 0.0, -1.0, -1.0], atol=1e-6)

  def test_nothing_to_choose_needs_no_call(self, make):
    advisor = make()
    prior, valid = consider(advisor, describe(options=[('look', (1, 2))]))
    assert valid.all()
    assert prior[0, 1] == prior[0, 2] > prior[0, 0]
    assert advisor.stats()['calls'] == 0

  def test_no_options_no_advice(self, make):
    advisor = make()
    prior, valid = consider(
        advisor, describe(options=()),
        describe('b', options=[('key', ()), ('door', ())]))
    assert not valid.any()
    assert advisor.stats()['calls'] == 0

  def test_budget(self, make):
    advisor = make(caps=storelib.Caps(calls=2))
    consider(advisor, 'a', 'b', 'c', 'd')
    stats = advisor.stats()
    assert stats['calls'] == 2
    assert stats['refused_budget'] == 2

  def test_zero_calls(self, make):
    provider = Mock()
    _, valid = consider(make(provider, caps=storelib.Caps(calls=0)), 'a')
    assert not valid.any()
    assert not provider.queries

  def test_cooldown_by_environment(self, make):
    advisor = make(limits=Limits(cooldown=2))
    for step in range(4):
      consider(advisor, f'a{step}', f'b{step}')
    # Steps 0 and 2 of both environments.
    assert advisor.stats()['calls'] == 4
    assert advisor.stats()['refused_cooldown'] == 4

  def test_certain_agent(self, make):
    advisor = make(limits=Limits(min_u=0.5))
    consider(advisor, 'a', u=0.4)
    consider(advisor, 'b', u=float('nan'))
    assert advisor.stats()['calls'] == 0
    assert advisor.stats()['refused_certain'] == 2
    consider(advisor, 'a', u=0.5)
    assert advisor.stats()['calls'] == 1
    assert advisor.stats()['asked_uncertainty'] == 1

  def test_why_it_was_asked(self, make):
    advisor = make()
    consider(advisor, 'a', 'b', 'a')
    assert advisor.stats()['asked_new'] == 2

  def test_stats_are_floats(self, make):
    advisor = make(Mock(replies=[Reply((0.0, 1.0), '', 5, 7, 0.5, 2.0)]))
    consider(advisor, 'a')
    stats = advisor.stats()
    assert all(type(x) is float for x in stats.values())
    assert stats['tokens_in'] == 5 and stats['tokens_out'] == 7
    assert stats['money'] == 0.5 and stats['seconds'] == 2.0


class TestCalibration:

  def test_earlier_states_move_with_later_replies(self, make):
    provider = Mock(replies=[(3.0, 0.0), (0.0, 0.0)], calibrate=True)
    advisor = make(provider, calibrate='always')
    before, _ = consider(advisor, 'a')
    consider(advisor, 'b')
    after, _ = advisor.lookup(encode('a'))
    # Bias (0.75, -0.75) after one state, (0.5, -0.5) after two.
    assert after[0, 0] > before[0, 0]

  @pytest.mark.parametrize('provider, kwargs, want', [
      (True, dict(mode='action'), True),
      (True, dict(mode='subgoal'), False),
      (True, dict(mode='action', calibrate='never'), False),
      (True, dict(mode='subgoal', calibrate='always'), True),
      (False, dict(mode='action', calibrate='always'), False),
  ])
  def test_auto(self, make, provider, kwargs, want):
    advisor = make(Mock(calibrate=provider), **kwargs)
    assert advisor.sources[0].calibrate is want

  def test_order_of_replies_does_not_matter(self, make):
    scores = {'a': (3.0, 0.0), 'b': (1.0, 2.0), 'c': (0.0, 5.0)}
    answer = lambda query: scores[query.description.text]
    tables = []
    for order in ('abc', 'cab'):
      advisor = make(
          Mock(default=answer, calibrate=True), calibrate='always')
      for text in order:
        consider(advisor, text)
      tables.append(advisor.lookup(encode('a', 'b', 'c'))[0])
    np.testing.assert_array_equal(*tables)


class TestStored:

  def test_second_run_asks_nothing(self, make, tmp_path):
    path = tmp_path / 'a.sqlite'
    first = make(store=storelib.Store(path), account='one')
    want, _ = consider(first, 'a', 'b')
    provider = Mock()
    second = make(provider, store=storelib.Store(path), account='two')
    got, valid = second.lookup(encode('a', 'b'))
    assert valid.all()
    np.testing.assert_array_equal(got, want)
    consider(second, 'a', 'b')
    assert not provider.queries

  def test_reply_of_another_process_is_used(self, make, tmp_path):
    path = tmp_path / 'a.sqlite'
    provider = Mock()
    second = make(provider, store=storelib.Store(path))
    first = make(store=storelib.Store(path))
    consider(first, 'a')
    _, valid = consider(second, 'a')
    assert valid.all()
    assert not provider.queries
    assert second.stats()['hits'] == 1

  def test_budget_goes_on_after_a_restart(self, make, tmp_path):
    path = tmp_path / 'a.sqlite'
    caps = storelib.Caps(calls=3)
    consider(make(store=storelib.Store(path), caps=caps), 'a', 'b')
    advisor = make(store=storelib.Store(path), caps=caps)
    consider(advisor, 'c', 'd')
    assert advisor.stats()['calls'] == 1

  @pytest.mark.parametrize('ago, want', [(79, 0), (81, 1)])
  def test_a_question_that_a_kill_interrupted(
      self, make, tmp_path, ago, want):
    """It is asked again after 20 + 60 seconds, and counts twice."""
    path, provider = tmp_path / 'a.sqlite', Mock(paid=True)
    advisor = make(
        provider, store=storelib.Store(path), ask='sync', timeout=20.0,
        stale=60.0)
    situation = advisor.table.situation(encode('a')[0].tobytes())
    dead = storelib.Store(path)
    dead.reserve('run', storelib.reply_key(
        advisor.sources[0].identity, situation.question.query))
    with dead._db.write() as db:
      db.execute('update ledger set reserved = ?', (time.time() - ago,))
    dead.close()
    assert consider(advisor, 'a')[1].sum() == want
    assert len(provider.queries) == want
    assert advisor.spent()['calls'] == 1 + want
    assert advisor.stats().get('refused_elsewhere', 0) == 1 - want

  def test_full_disk(self, make, monkeypatch):
    advisor = make()
    def fail(*args, **kwargs):
      raise OSError('No space left on device')
    monkeypatch.setattr(advisor.store, 'reserve', fail)
    _, valid = consider(advisor, 'a')
    assert not valid.any()
    assert advisor.stats()['failures_store'] == 1
    assert advisor.stats()['calls'] == 0


  def test_paid_reply_waits_for_room_on_disk(self, make, monkeypatch):
    provider = Mock(paid=True)
    advisor = make(provider, ask='sync')
    settle = advisor.store.settle
    def fail(*args):
      raise OSError('No space left on device')
    monkeypatch.setattr(advisor.store, 'settle', fail)
    _, valid = consider(advisor, 'a')
    # Not on disk, so not used; and not asked about a second time.
    assert not valid.any()
    assert advisor.stats()['failures_store'] == 1
    monkeypatch.setattr(advisor.store, 'settle', settle)
    for _ in range(service.NEWS):
      _, valid = consider(advisor, 'a')
    assert valid.all()
    assert len(provider.queries) == 1
    assert advisor.store.spent('run')['calls'] == 1


class TestFailures:

  @pytest.mark.parametrize('error, kind', [
      (errors.RejectedCall('wrong key'), 'rejected'),
      (errors.BusyCall('later', 0.0), 'busy'),
      (errors.FailedCall('no connection'), 'failed'),
      (errors.ParseError('nonsense'), 'parse'),
      (ZeroDivisionError('a bug'), 'internal'),
  ])
  def test_is_counted_by_class(self, make, error, kind, caplog):
    advisor = make(Mock(replies=[error]), retries=0)
    with caplog.at_level(logging.WARNING, 'lore_plugin'):
      _, valid = consider(advisor, 'a')
    assert not valid.any()
    assert advisor.stats()[f'failures_{kind}'] == 1
    assert advisor.stats()['failures'] == 1
    assert str(error) in caplog.text

  def test_rejection_ends_asking(self, make):
    provider = Mock(replies=[errors.RejectedCall('wrong key')])
    advisor = make(provider)
    for text in 'abc':
      consider(advisor, text)
    assert len(provider.queries) == 1
    assert advisor.stats()['refused_stopped'] == 2

  def test_unreadable_answer_is_asked_again_once(self, make):
    provider = Mock(replies=[errors.ParseError('nonsense')] * 5)
    advisor = make(provider)
    for _ in range(4):
      consider(advisor, 'a')
    assert len(provider.queries) == 2
    assert advisor.stats()['refused_failed'] == 2

  def test_busy_server_is_left_alone(self, make):
    provider = Mock(replies=[errors.BusyCall('later', 30.0)])
    advisor = make(provider)
    consider(advisor, 'a')
    consider(advisor, 'b')
    assert len(provider.queries) == 1
    assert advisor.stats()['refused_busy'] == 1

  @pytest.mark.parametrize('scores', [
      (), (0.0,), (0.0, 1.0, 2.0), (0.0, float('nan')), (0.0, float('inf')),
      (0.0, -float('inf')), ('x', 'y'), None, (None, None)])
  def test_bad_scores(self, make, scores):
    advisor = make(Mock(replies=[Reply(scores)]))
    prior, valid = consider(advisor, 'a')
    assert not valid.any() and not prior.any()
    assert advisor.stats()['failures_parse'] == 1

  def test_huge_scores(self, make):
    advisor = make(Mock(replies=[(1e308, -1e308)]))
    prior, valid = consider(advisor, 'a')
    assert valid.all() and np.isfinite(prior).all()

  def test_wrong_number_of_actions(self, make):
    advisor = make()
    _, valid = consider(advisor, describe(actions=('left', 'right')))
    assert not valid.any()
    assert advisor.stats()['failures_description'] == 1


class TestNetwork:

  def test_waits_within_the_time_limit(self, make):
    advisor = make(Mock(seconds=0.05, paid=True), ask='sync', timeout=5.0)
    _, valid = consider(advisor, 'a', 'b')
    assert valid.all()

  def test_late_answers_serve_later_visits(self, make):
    advisor = make(Mock(seconds=0.2, paid=True), ask='sync', timeout=0.01)
    _, valid = consider(advisor, 'a')
    assert not valid.any()
    advisor._pool.shutdown(wait=True)
    _, valid = consider(advisor, 'a')
    assert valid.all()
    assert advisor.stats()['calls'] == 1

  def test_paid_replies_are_stored_before_use(self, make, tmp_path):
    path = tmp_path / 'a.sqlite'
    advisor = make(
        Mock(paid=True), store=storelib.Store(path), ask='sync')
    consider(advisor, 'a')
    rows = storelib.Store(path).load(advisor.sources[0].identity)
    assert json.loads(json.dumps(rows[0]['scores'])) == [0.0, -1.0]


  def test_async_does_not_wait(self, make):
    advisor = make(Mock(seconds=0.3, paid=True))
    begun = time.monotonic()
    _, valid = consider(advisor, 'a', 'b')
    assert time.monotonic() - begun < 0.2
    assert not valid.any()
    assert advisor.stats()['pending'] == 2

  @pytest.mark.parametrize('ask', ['sync', 'async'])
  def test_nothing_is_asked_where_an_episode_ends(self, make, ask):
    """No action follows; but another environment may act in that state."""
    provider = Mock(paid=True)
    advisor = make(provider, ask=ask, mode='action')
    zeros = np.zeros(2, np.float32)
    for texts, first, last in [
        ('ab', (1, 1), (0, 0)), ('cc', (0, 0), (1, 0)),
        ('dd', (1, 0), (0, 1)), ('ef', (0, 0), (1, 1))]:
      advisor.consider(
          encode(*texts), [0, 1], zeros, zeros, np.array(first, bool),
          np.array(last, bool))
    advisor._pool.shutdown(wait=True)
    assert sorted(x.description.text for x in provider.queries) == [*'abcd']
    stats = advisor.stats()
    assert stats['refused_last'] == 4 and stats['asked_new'] == 4
    assert 'refused_pending' not in stats
    assert advisor.spent()['calls'] == 4

  def test_one_request_for_a_state(self, make):
    provider = Mock(seconds=0.1, paid=True)
    advisor = make(provider)
    for _ in range(5):
      consider(advisor, 'a', 'a')
    advisor._pool.shutdown(wait=True)
    _, valid = consider(advisor, 'a')
    assert valid.all()
    assert len(provider.queries) == 1

  def test_calls_that_begin_too_late(self, make):
    provider = Mock(seconds=0.2, paid=True)
    advisor = make(provider, workers=1, stale=0.1)
    consider(advisor, 'a', 'b', 'c')
    advisor._pool.shutdown(wait=True)
    consider(advisor, 'x')
    assert len(provider.queries) == 1
    assert advisor.stats()['refused_stale'] == 2
    assert advisor.store.spent('run')['calls'] == 1


class TestSources:

  def test_next_one_answers(self, make):
    first = Mock(replies=[errors.RejectedCall('wrong key')], paid=True)
    second = Mock(default=(0.0, 5.0))
    first.name, second.name = 'first', 'second'
    advisor = make([first, second], ask='sync')
    for text in 'ab':
      _, valid = consider(advisor, text)
      assert valid.all()
    assert (len(first.queries), len(second.queries)) == (1, 2)
    stats = advisor.stats()
    assert stats['failures_rejected'] == 1
    # What was rejected was not paid.
    assert stats['calls'] == advisor.store.spent('run')['calls'] == 2

  def test_preferred_answer_rules(self, make, tmp_path):
    first, second = Mock(default=(5.0, 0.0)), Mock(default=(0.0, 5.0))
    first.name, second.name = 'first', 'second'
    path = tmp_path / 'a.sqlite'
    low, _ = consider(make(second, store=storelib.Store(path)), 'a')
    high, _ = consider(make(first, store=storelib.Store(path)), 'a')
    for order in ([first, second], [second, first]):
      advisor = make(order, store=storelib.Store(path))
      got, _ = advisor.lookup(encode('a'))
      want = high if order[0] is first else low
      np.testing.assert_array_equal(got, want)

  def test_connection_is_tried_again(self, make):
    provider = Mock(replies=[errors.FailedCall('no connection')])
    advisor = make(provider)
    _, valid = consider(advisor, 'a')
    assert valid.all()
    assert len(provider.queries) == 2
    assert advisor.stats()['calls'] == 2
    assert advisor.stats()['failures_failed'] == 1

  def test_circuit_opens(self, make):
    provider = Mock(default=errors.FailedCall('no connection'))
    advisor = make(provider, retries=0)
    for i in range(9):
      consider(advisor, f'{i}')
    assert len(provider.queries) == 5
    assert advisor.stats()['refused_open'] == 4
