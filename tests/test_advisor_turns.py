"""Answers mixed up on their way, and servers that say no in other words."""

import concurrent.futures
import dataclasses
import json
import re
import threading

import numpy as np
import pytest
import servers
from servers import chat, error, good
from states import WORDS, describe, make, query, run

from lore_plugin import errors
from lore_plugin.advisor import advisor as service
from lore_plugin.advisor import store as storelib
from lore_plugin.advisor.providers import manners
from lore_plugin.advisor.providers import openai

__all__ = ['make']


def untagged(body, number, kind):
  """Answers as `good` does, and never repeats the tag."""
  status, answer = good(body, number, kind)
  text = json.dumps(answer).replace(f'{servers.tag_of(body)}: ', '')
  return status, json.loads(text.replace(servers.tag_of(body), ''))


@pytest.mark.parametrize('answer', [good, untagged])
@pytest.mark.parametrize('name', ['openai', 'anthropic'])
def test_a_proxy_that_mixes_up_what_is_under_way(make, name, answer):
  turns, waiting = threading.Condition(), []

  def right(body, number, kind):
    # The best candidate depends on the question.
    i = int(re.findall(r't(\d+)', servers.text_of(body))[-1]) % 3
    status, out = answer(body, number, kind)
    text = json.dumps(out).replace('score_1', 'score_x').replace(
        f'score_{i + 1}', 'score_1').replace('score_x', f'score_{i + 1}')
    return status, json.loads(text)

  def behave(body, number, kind):
    if 'logprobs' in body:
      return 400, error('no logprobs')
    mine = [right(body, number, kind), None]
    with turns:
      if waiting:
        other = waiting.pop()
        other[1], mine[1] = mine[0], other[0]
        turns.notify_all()
      else:
        waiting.append(mine)
        turns.wait_for(lambda: mine[1], 0.1)
        if mine in waiting:
          waiting.remove(mine)
    return mine[1] or mine[0]
  _, provider = make(behave, name)
  advisor = service.Advisor(
      provider, len(WORDS), service.Settings(ask='sync'),
      store=storelib.Store(':memory:'))
  count = 12
  states = np.stack([describe(i).encode(256) for i in range(count)])
  for _ in range(3):
    advisor.consider(
        states, range(count), [0.0] * count, [0.0] * count, [False] * count,
        [False] * count)
  identity = advisor.sources[0].identity
  rows = [
      advisor.store.get(storelib.reply_key(identity, query(i)))
      for i in range(count)]
  assert all(rows)
  assert [int(np.argmax(x['scores'])) for x in rows] == [
      i % 3 for i in range(count)]
  advisor.close()


def test_who_waits_for_a_turn_is_not_left_waiting():
  known = manners.Manners(openai.LADDER)
  begun, end = threading.Event(), threading.Event()

  def first():
    with pytest.raises(errors.FailedCall), known.turn():
      begun.set()
      end.wait(20)
      raise errors.FailedCall('no answer')

  def second():
    with known.turn():
      pass
  with concurrent.futures.ThreadPoolExecutor(3) as pool:
    one = pool.submit(first)
    begun.wait(20)
    others = [pool.submit(second) for _ in range(2)]
    concurrent.futures.wait(others, 0.05)
    end.set()
    one.result(20)
    # Those that waited fail with it, unpaid; who came later may go.
    for x in others:
      e = x.exception(20)
      assert e is None or isinstance(e, errors.FailedCall) and not e.paid
  with known.turn() as turn:
    assert turn.alone


# --- Servers that break down, or say no by other means -----------------------


@pytest.mark.parametrize('says', [b'', b'Internal Server Error', None])
def test_a_form_that_breaks_the_server_is_left(make, says):
  def behave(body, number, kind):
    if 'logprobs' not in body:
      return good(body, number, kind)
    if says is None:
      raise ConnectionError  # Hangs up.
    return 500, says
  _, provider = make(behave)
  advisor = run(provider, 12)
  stats = advisor.stats()
  assert stats['answered'] >= 6 and stats['failures_failed'] <= 6
  assert 'refused_open' not in stats
  advisor.close()


def test_a_server_that_was_down_is_asked_in_the_best_form(make):
  def behave(body, number, kind):
    return good(body, number, kind) if number > 3 else (500, b'')
  server, provider = make(behave)
  advisor = run(provider, 8)
  assert advisor.stats()['answered'] == 5
  assert server.seen[-1]['top_logprobs'] == 20
  advisor.close()


@pytest.mark.parametrize('name, lacks, status, says', [
    ('openai', 'logprobs', 404,
     'No endpoints found that can handle the requested parameters.'),
    ('anthropic', 'tools', 404, 'No endpoints found that support tool use'),
    ('anthropic', 'cache_control', 400, 'cache_control: Extra inputs'),
    ('anthropic', 'cache_control', 400, 'Invalid input')])
def test_refusals_in_other_words(make, name, lacks, status, says):
  _, provider = make(lambda body, number, kind: (
      status, error(says)) if lacks in json.dumps(body) else good(
          body, number, kind), name)
  advisor = run(provider, 4)
  stats = advisor.stats()
  assert stats['answered'] == stats['calls'] == 4 and not stats['failures']
  advisor.close()


@pytest.mark.parametrize('status, says', [
    (403, 'Input violates our usage policy'), (451, 'no')])
def test_a_first_state_that_is_forbidden_is_one_state(make, status, says):
  _, provider = make(lambda body, number, kind: (
      status, error(says)) if number == 1 else good(body, number, kind))
  advisor = run(provider, 4)
  assert advisor.stats()['answered'] == 3
  advisor.close()


def test_an_answer_in_the_thoughts_alone(make, caplog):
  _, provider = make(lambda body, number, kind: (
      200, chat('', reasoning_content='open the door'))
      if 'chat_template_kwargs' not in body else good(body, number, kind))
  advisor = run(provider, 4)
  assert advisor.stats()['answered'] == 3
  assert 'reasoning' in caplog.text
  advisor.close()


def test_a_form_found_since_is_not_asked_below_its_price(make):
  """Another question finds out that the model needs room to reason."""
  server, provider = make(good)
  tokens, _ = provider.estimate(query())
  provider.manners.form = dataclasses.replace(
      provider.manners.form, think=openai.LADDER.room)
  with pytest.raises(errors.RefusedCall):
    provider.ask(query())
  assert not server.seen
  more, _ = provider.estimate(query())
  assert more > tokens
  assert provider.ask(query()).scores
