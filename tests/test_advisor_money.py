"""Every call is counted once, costs what was reserved, and is worth it."""

import itertools
import math
import threading

import pytest
from advising import WORDS, consider
from helpers import until

from lore_plugin import errors
from lore_plugin.advisor import advisor as service
from lore_plugin.advisor import asker as askerlib
from lore_plugin.advisor import store as storelib
from lore_plugin.advisor import table
from lore_plugin.advisor.providers.mock import Mock
from lore_plugin.advisor.types import Reply


class Priced(Mock):
  """Says what a call costs at most."""

  def estimate(self, query):
    return 1000, 0.01


@pytest.fixture
def make():
  made = []

  def fn(provider, caps=storelib.Caps(), store=None, account='run', **kwargs):
    made.append(service.Advisor(
        provider, len(WORDS), service.Settings(**kwargs), caps=caps,
        store=store, account=account))
    return made[-1]
  yield fn
  for advisor in made:
    advisor.close()


class TestCost:

  @pytest.mark.parametrize('tokens_in, tokens_out, money, want', [
      (70, 7, 0.002, (77, 0.002)),
      # Nobody says: all that was set aside.
      (None, None, None, (1000, 0.01)),
      (70, None, 0.002, (1000, 0.002)),
      # Nothing ever costs more than that.
      (10 ** 9, 10 ** 9, 5000.0, (1000, 0.01)),
      (10 ** 30, 1, math.inf, (1000, 0.01)),
      # Nonsense says nothing.
      (-5, 3, -1.0, (1000, 0.01)),
      (math.nan, 3, math.nan, (1000, 0.01)),
      ('many', [], 'much', (1000, 0.01)),
  ])
  def test_is_at_most_what_was_reserved(
      self, make, tokens_in, tokens_out, money, want):
    reply = Reply((0.0, 1.0), 'r', tokens_in, tokens_out, money)
    advisor = make(Priced(replies=[reply]))
    _, valid = consider(advisor, 'a')
    assert valid.all()
    spent = advisor.store.spent('run')
    assert (spent['tokens'], spent['money']) == pytest.approx(want)
    assert advisor.stats()['money'] == pytest.approx(want[1])

  def test_cap_holds_against_a_server_that_says_nothing(self, make):
    advisor = make(
        Priced(default=Reply((0.0, 1.0), 'r', None, None, None)),
        storelib.Caps(money=0.035))
    for i in range(10):
      consider(advisor, f'{i}')
    assert advisor.stats()['calls'] == 3
    assert advisor.store.spent('run')['money'] == pytest.approx(0.03)

  def test_answer_without_scores_costs_what_it_says(self, make):
    advisor = make(
        Priced(replies=[Reply((), 'sorry', 70, 7, 0.002)]))
    consider(advisor, 'a')
    spent = advisor.store.spent('run')
    assert spent == {'calls': 1, 'tokens': 77, 'money': 0.002}
    assert advisor.store.query('select raw from ledger') == [('sorry',)]


class TestUnsettled:

  def broken(self, advisor, monkeypatch):
    """Lets nothing be settled. Returns what undoes that."""
    settle = advisor.store.settle
    def fail(*args):
      raise OSError('No space left on device')
    monkeypatch.setattr(advisor.store, 'settle', fail)
    return lambda: monkeypatch.setattr(advisor.store, 'settle', settle)

  @pytest.mark.parametrize('paid', [False, True])
  def test_stored_at_the_end_where_there_is_room_again(
      self, make, tmp_path, monkeypatch, paid):
    path = tmp_path / 'a.sqlite'
    advisor = make(
        Mock(paid=paid), store=storelib.Store(path), ask='sync')
    mend = self.broken(advisor, monkeypatch)
    consider(advisor, 'a')
    mend()
    advisor.close()
    store = storelib.Store(path)
    assert [x['text'] for x in store.load(advisor.sources[0].identity)] == [
        'a']
    assert advisor.stats()['calls'] == store.spent('run')['calls'] == 1

  def test_calls_under_way_at_the_end_are_stored(self, make, tmp_path):
    path = tmp_path / 'a.sqlite'
    provider = Mock(seconds=0.05, paid=True)
    advisor = make(provider, store=storelib.Store(path), workers=3)
    consider(advisor, *'abc')
    advisor.close()
    store = storelib.Store(path)
    assert len(store.load(advisor.sources[0].identity)) == len(
        provider.queries) == advisor.stats()['calls']

  @pytest.mark.parametrize('workers', [1, 4])
  def test_nothing_else_is_asked(self, make, monkeypatch, workers, caplog):
    provider = Mock(paid=True)
    advisor = make(provider, ask='sync', workers=workers)
    mend = self.broken(advisor, monkeypatch)
    monkeypatch.setattr(askerlib, 'CLOSING', 0.0)
    for i in range(3 * service.NEWS):
      consider(advisor, *(f'{i} {x}' for x in range(4)))
    # Those that were under way when the first one failed.
    assert len(provider.queries) <= workers
    assert advisor.stats()['refused_unsettled'] > 100
    mend()
    for _ in range(service.NEWS):
      consider(advisor, 'z')
    assert advisor.stats()['pending'] == 0
    assert len(advisor.store.load(advisor.sources[0].identity)) == len(
        provider.queries)

  def test_what_is_lost_is_said(self, make, monkeypatch, caplog):
    advisor = make(Mock())
    self.broken(advisor, monkeypatch)
    monkeypatch.setattr(askerlib, 'CLOSING', 0.0)
    consider(advisor, 'a')
    advisor.close()
    assert '1 answers that were paid for could not be stored' in caplog.text


class TestUnreadable:

  def test_many_in_a_row_end_asking(self, make, caplog):
    provider = Mock(default=errors.ParseError('nothing but thoughts'))
    advisor = make(provider)
    for i in range(40):
      consider(advisor, f'{i}')
    assert len(provider.queries) == askerlib.UNREADABLE
    assert 'answers in a row could not be used' in caplog.text
    assert 'nothing but thoughts' in caplog.text
    assert advisor.stats()['refused_stopped'] == 40 - askerlib.UNREADABLE

  def test_some_between_good_ones_do_not(self, make):
    bad = errors.ParseError('nonsense')
    provider = Mock(replies=itertools.islice(
        itertools.cycle([bad, bad, bad, (0.0, 1.0)]), 200))
    advisor = make(provider)
    for i in range(100):
      consider(advisor, f'{i}')
    assert len(provider.queries) == 100

  def test_one_refused_state_is_one_refused_state(self, make):
    provider = Mock(replies=[
        (0.0, 1.0), errors.RejectedState('content filter')])
    advisor = make(provider)
    for _ in range(3):
      _, valid = consider(advisor, *'abcd')
      assert valid.tolist() == [True, False, True, True]
    assert len(provider.queries) == 4
    # It cost nothing.
    assert advisor.store.spent('run')['calls'] == 3

  def test_the_next_source_is_asked(self, make):
    first = Mock(default=errors.RejectedState('content filter'))
    second = Mock()
    first.name, second.name = 'first', 'second'
    advisor = make([first, second])
    _, valid = consider(advisor, 'a')
    assert valid.all()

  def test_not_paid_again_however_long_ago(
      self, make, tmp_path, monkeypatch):
    monkeypatch.setattr(table, 'MEMO', 10)
    monkeypatch.setattr(table.Names, 'LARGEST', 5)
    monkeypatch.setattr(askerlib, 'UNREADABLE', 10 ** 6)
    path = tmp_path / 'a.sqlite'
    provider = Mock(default=errors.ParseError('nonsense'))
    advisor = make(provider, store=storelib.Store(path))
    for _ in range(4):
      for i in range(30):
        consider(advisor, f'{i}')
    assert len(provider.queries) == 2 * 30
    advisor.close()
    # Nor by the next process; but another run may try its luck.
    advisor = make(provider, store=storelib.Store(path))
    consider(advisor, '7')
    assert len(provider.queries) == 2 * 30
    advisor = make(provider, store=storelib.Store(path), account='other')
    consider(advisor, '7')
    assert len(provider.queries) == 2 * 30 + 1


@pytest.mark.parametrize('ask', ['async', 'sync'])
def test_what_is_only_set_aside_is_not_used_up(make, ask):
  """Three of three calls wait for a server that is down; a fourth can't."""
  ended = threading.Event()

  def away(query):
    ended.wait(60)
    error = errors.FailedCall('nothing was sent')
    error.paid = False
    return error
  provider = Priced(replies=[away] * 3, paid=True)
  advisor = make(
      provider, storelib.Caps(calls=3), ask=ask, retries=0, timeout=0.1)

  def refused():
    consider(advisor, *'abcd')
    return advisor.stats()['refused_budget']
  until(refused)
  assert advisor.spent()['calls'] == 3 and len(provider.queries) == 3
  assert math.isfinite(advisor.broke)
  ended.set()
  until(lambda: not advisor.spent()['calls'])
  # Looked at again after some steps: the cap is three, and three are made.
  until(lambda: consider(advisor, *'abcd')[1].sum() == 3)
  assert advisor.stats()['calls'] == advisor.spent()['calls'] == 3
  # Now they are gone for good.
  until(lambda: consider(advisor, *'abcd') and advisor.broke == math.inf)
  assert len(provider.queries) == 6


def test_a_key_in_an_error_is_not_logged(make, monkeypatch, caplog):
  monkeypatch.setenv('ANTHROPIC_API_KEY', 'very-secret-12345')
  advisor = make(Mock(replies=[
      errors.FailedCall('the server says: very-secret-12345 is wrong')] * 2))
  consider(advisor, 'a')
  assert 'the server says' in caplog.text
  assert 'very-secret' not in caplog.text
