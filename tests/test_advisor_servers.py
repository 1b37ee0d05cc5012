"""The real SDKs against servers that differ in what they take."""

import json
import math

import numpy as np
import pytest
import servers
from servers import chat, error, good, message, token
from states import KEY, make, query, run

from lore_plugin import errors
from lore_plugin.advisor import providers

pytest.importorskip('openai')

__all__ = ['make']

# What a server does not take: a condition on the request, and what it says.
LACKS = {
    'twenty alternatives': (
        lambda x: x.get('top_logprobs', 0) > 5,
        'top_logprobs must be at most 5'),
    'more than five alternatives, in few words': (
        lambda x: x.get('top_logprobs', 0) > 5, 'Bad request'),
    'log-probabilities': (
        lambda x: x.get('logprobs'), 'logprobs are not supported'),
    'log-probabilities, in few words': (
        lambda x: 'logprobs' in x, 'Bad request'),
    'max_tokens': (
        lambda x: 'max_tokens' in x,
        "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens'."),
    'max_tokens, in few words': (lambda x: 'max_tokens' in x, 'no'),
    'max_tokens and temperature': (
        lambda x: 'max_tokens' in x or x.get('temperature', 1) != 1,
        "max_tokens or temperature does not support this value"),
    'system messages': (
        lambda x: x['messages'][0]['role'] == 'system',
        'System role not supported'),
    'system messages, in few words': (
        lambda x: x['messages'][0]['role'] == 'system', 'no'),
    'schemas': (
        lambda x: 'logprobs' in x or x.get(
            'response_format', {}).get('type') == 'json_schema',
        'logprobs and json_schema are unknown'),
    'formats': (
        lambda x: 'logprobs' in x or 'response_format' in x, 'no'),
    'everything but the least': (
        lambda x: set(x) - {'model', 'messages', 'max_completion_tokens'} or
        x['messages'][0]['role'] == 'system', '?'),
}


@pytest.mark.parametrize('status', [400, 422])
@pytest.mark.parametrize('kind', list(LACKS))
def test_steps_down_until_something_is_taken(make, kind, status):
  lacks, says = LACKS[kind]
  refused = []

  def behave(body, number, way):
    if lacks(body):
      refused.append(number)
      return status, error(says)
    return good(body, number, way)
  server, provider = make(behave)
  advisor = run(provider, 6)
  stats = advisor.stats()
  assert stats['answered'] == stats['calls'] == 6 and not stats['failures']
  assert stats['tokens_in'] == 6 * 70
  # It is found out once, and known from then on.
  assert len(server.seen) - len(refused) == 6 and len(refused) < 20
  assert not any(lacks(x) for x in server.seen[-3:])
  # Another provider of this process knows it as well.
  again = providers.create('openai', {
      'model': 'm', 'url': f'{server.url}/v1'}, 0)
  count = len(refused)
  again.ask(query(9))
  assert len(refused) == count
  again.close()
  advisor.close()


def test_refused_in_every_form(make):
  server, provider = make(lambda *args: (400, error('no')))
  advisor = run(provider, 5)
  stats = advisor.stats()
  assert stats['failures_rejected'] == 1 and stats['calls'] == 0
  assert advisor.store.spent('run')['calls'] == 0
  assert len(server.seen) < 20
  advisor.close()


@pytest.mark.parametrize('status', [401, 403, 404])
@pytest.mark.parametrize('name', ['openai', 'anthropic'])
def test_refused_for_good(make, status, name):
  server, provider = make(lambda *args: (status, error('no')), name)
  with pytest.raises(errors.RejectedCall):
    provider.ask(query())
  assert len(server.seen) == 1


@pytest.mark.parametrize('status', [400, 403])
@pytest.mark.parametrize('name', ['openai', 'anthropic'])
@pytest.mark.parametrize('first', [0, 3])
def test_a_content_filter_stops_one_state(make, name, status, first):
  def behave(body, number, kind):
    if f't{first}' in servers.text_of(body):
      return status, error('blocked by content management policy')
    return good(body, number, kind)
  server, provider = make(behave, name)
  advisor = run(provider, 6)
  stats = advisor.stats()
  assert stats['answered'] == 5 and stats['failures_parse'] == 1
  assert 'failures_rejected' not in stats
  assert len(server.seen) == 6
  advisor.close()


@pytest.mark.parametrize('name', ['openai', 'anthropic'])
def test_a_bare_400_stops_one_state(make, name):
  def behave(body, number, kind):
    if 't2' in servers.text_of(body):
      return 400, error('no')
    return good(body, number, kind)
  server, provider = make(behave, name)
  advisor = run(provider, 6)
  assert advisor.stats()['answered'] == 5
  assert len(server.seen) == 6
  advisor.close()


def test_a_server_that_turns_refuses_soon(make):
  def behave(body, number, kind):
    return (400, error('no')) if number > 3 else good(body, number, kind)
  server, provider = make(behave)
  advisor = run(provider, 40)
  assert advisor.stats()['answered'] == 3
  assert len(server.seen) < 20
  advisor.close()


# --- Log-probabilities ------------------------------------------------------


def lead(body):
  return f'{servers.tag_of(body)}: '


NOISE = {
    'byte-pair marks': lambda x: (lead(x) + 'take the key', [
        token(lead(x)), token('Ġtake', ('Ġtake', 0.7), ('Ġopen', 0.2)),
        token('Ġthe'), token('Ġkey')]),
    'marked blanks': lambda x: (lead(x) + 'take the key', [
        token(lead(x)), token('▁take', ('▁take', 0.7), ('▁open', 0.2)),
        token('▁the'), token('▁key')]),
    'Answer:': lambda x: ('Answer: take the key', [
        token('Ans', ('Ans', 0.8), ('take', 0.1)), token('wer'), token(':'),
        token(' take', (' take', 0.75), (' open', 0.25))]),
    'no tag': lambda x: ('take the key', [
        token('take', ('take', 0.7), ('open', 0.2), ('explore', 0.1))]),
    'thoughts': lambda x: ('<think>open the door?</think>take the key', [
        token('<think>'), token('open the door?'), token('</think>'),
        token('take', ('take', 0.7), ('open', 0.2))]),
    'the key among the thoughts': lambda x: ('take the key', [
        token('<think>', ('<think>', 0.999), ('open', 1e-3))]),
}


@pytest.mark.parametrize('kind', list(NOISE))
def test_probabilities_are_those_of_the_words(make, kind):
  def behave(body, number, way):
    if 'logprobs' not in body:
      return good(body, number, way)
    return 200, chat(*NOISE[kind](body))
  _, provider = make(behave)
  scores = provider.ask(query()).scores
  assert np.argmax(scores) == 0
  if kind != 'the key among the thoughts':
    assert math.exp(scores[0]) == pytest.approx(0.7, abs=0.05)


def test_noise_is_left_behind(make):
  def behave(body, number, way):
    if 'logprobs' not in body:
      return good(body, number, way)
    return 200, chat('<think>\nLet me', [
        token('<think>', ('<think>', 0.999), ('open', 1e-3)), token('\n')],
        end='length')
  server, provider = make(behave)
  advisor = run(provider, 8)
  stats = advisor.stats()
  assert stats['answered'] >= 5 and stats['failures_parse'] <= 3
  advisor.close()


def test_two_empty_answers_change_nothing(make):
  def behave(body, number, way):
    if number in (3, 4):
      return 200, chat('')
    return good(body, number, way)
  server, provider = make(behave)
  advisor = run(provider, 8)
  assert all(x.get('n', 1) == 1 for x in server.seen)
  assert all('logprobs' in x for x in server.seen)
  assert advisor.stats()['answered'] == 6
  advisor.close()


def test_a_bad_spell_is_not_for_ever(make):
  def behave(body, number, way):
    if 3 <= number < 30 and 'logprobs' in body:
      return 200, chat('')
    return good(body, number, way)
  server, provider = make(behave)
  advisor = run(provider, 70)
  assert 'logprobs' in server.seen[-1]
  assert advisor.stats()['failures_parse'] < 6
  advisor.close()


# --- Models that reason -----------------------------------------------------


def thinker(obeys=(), room=1000):
  """A model that reasons unless told not to, in one of the known ways."""
  def behave(body, number, kind):
    told = 'reasoning_effort' in body or 'chat_template_kwargs' in body
    unknown = [x for x in ('reasoning_effort', 'chat_template_kwargs')
               if x in body and x not in obeys and obeys != 'any']
    if unknown and obeys != 'deaf':
      return 400, error(f'Unknown parameter: {unknown[0]}')
    if body['max_tokens'] < room and not (told and obeys != 'deaf'):
      return 200, chat(
          None, end='length', reasoning_content='Let me think about this')
    return good(body, number, kind)
  return behave


@pytest.mark.parametrize('obeys', [
    ('reasoning_effort',), ('chat_template_kwargs', 'reasoning_effort'),
    (), 'any', 'deaf'])
def test_reasoning_models(make, obeys, caplog):
  server, provider = make(thinker(obeys))
  advisor = run(provider, 10)
  stats = advisor.stats()
  assert 'for reasoning' in caplog.text
  assert stats['failures_parse'] <= 3 and stats['answered'] >= 7
  advisor.close()


def test_a_model_that_only_thinks_is_given_up(make, caplog):
  server, provider = make(thinker('deaf', room=10 ** 9))
  advisor = run(provider, 60)
  stats = advisor.stats()
  assert stats['calls'] <= 10 and stats['failures_rejected'] == 1
  assert 'Choose a model that answers without' in caplog.text
  advisor.close()


# --- Money ------------------------------------------------------------------


@pytest.mark.parametrize('usage', [
    None, {}, {'prompt_tokens': 0, 'completion_tokens': 0},
    {'prompt_tokens': -5, 'completion_tokens': 10 ** 12},
    {'prompt_tokens': 'many', 'completion_tokens': None},
    {'prompt_tokens': 1e300, 'completion_tokens': []}])
def test_unknown_usage_costs_the_reservation(make, usage):
  def behave(body, number, way):
    out = {**good(body)[1], 'usage': usage}
    return 200, {k: v for k, v in out.items() if v is not None}
  _, provider = make(behave)
  tokens, money = provider.estimate(query())
  reply = provider.ask(query())
  assert 0 < reply.tokens_in + reply.tokens_out <= tokens
  assert 0.1 * money < reply.money <= money


def test_a_paid_answer_without_usage_is_kept(make):
  def behave(body, number, way):
    return 200, {**good(body, number, way)[1], 'usage': None}
  _, provider = make(behave, 'anthropic')
  tokens, money = provider.estimate(query())
  reply = provider.ask(query())
  assert np.argmax(reply.scores) == 0
  assert 0 < reply.tokens_in + reply.tokens_out <= tokens
  assert 0.1 * money < reply.money <= money


# --- Anthropic --------------------------------------------------------------


@pytest.mark.parametrize('bad', [
    message([{'type': 'text', 'text': 'I would rather not.'}], 'refusal'),
    message([], 'refusal'),
    message([{'type': 'tool_use', 'id': 't', 'name': 'advise', 'input': {
        'score_1': 90}}], 'max_tokens'),
    message([{'type': 'text', 'text': 'Well,'}], 'max_tokens')])
def test_one_bad_answer_is_one_state(make, bad):
  def behave(body, number, kind):
    return (200, bad) if number == 1 else good(body, number, kind)
  server, provider = make(behave, 'anthropic')
  advisor = run(provider, 5)
  assert advisor.stats()['answered'] == 4
  assert all(x['tool_choice']['type'] == 'tool' for x in server.seen)
  advisor.close()


@pytest.mark.parametrize('says', ['tool_choice forces tool use', 'no'])
def test_offers_a_tool_that_can_not_be_forced(make, says):
  def behave(body, number, kind):
    if body.get('tool_choice', {}).get('type') == 'tool':
      return 400, error(says)
    return good(body, number, kind)
  server, provider = make(behave, 'anthropic')
  advisor = run(provider, 4)
  stats = advisor.stats()
  assert stats['answered'] == 4 and not stats['failures']
  assert server.seen[-1]['tool_choice']['type'] == 'auto'
  advisor.close()


def test_prefill_may_be_refused(make):
  def behave(body, number, kind):
    if body['messages'][-1]['role'] == 'assistant':
      return 400, error('This model does not support assistant prefill.')
    if 'tools' in body:
      return 200, message([{'type': 'text', 'text': 'Take it.'}], 'end_turn')
    return good(body, number, kind)
  server, provider = make(behave, 'anthropic')
  advisor = run(provider, 5)
  stats = advisor.stats()
  assert stats['answered'] == 4 and stats['failures_parse'] == 1
  advisor.close()


# --- Answers and questions --------------------------------------------------


@pytest.mark.parametrize('name', ['openai', 'anthropic'])
def test_swapped_answers_are_not_believed(make, name):
  kept = []

  def behave(body, number, kind):
    kept.append(good(body, number, kind))
    # Each gets the answer to the question before.
    return kept[-2] if len(kept) > 1 else kept[-1]
  server, provider = make(behave, name)
  advisor = run(provider, 5)
  stats = advisor.stats()
  assert stats['answered'] == 1 and stats['failures_parse'] == 4
  advisor.close()


@pytest.mark.parametrize('text', [
    '{"score_1": 1e400, "score_2": 1, "score_3": 2}',
    'score_1: 9e1, score_2: 3, score_3: 4',
    'score_1: 0x1, score_2: 3, score_3: 4'])
def test_numbers_are_read_whole(make, text):
  _, provider = make(good)
  raw = json.dumps({
      'method': 'stated', 'candidates': query().candidates,
      'choices': [{'text': text, 'tokens': None}]})
  with pytest.raises(errors.ParseError):
    provider.parse(raw, 3)


def test_an_echoed_form_is_no_answer(make):
  def behave(body, number, kind):
    if 'logprobs' in body:
      return 400, error('no logprobs')
    return 200, chat(servers.text_of(body))
  _, provider = make(behave)
  with pytest.raises(errors.ParseError):
    provider.ask(query())


def test_an_echoed_key_is_kept_nowhere(make, caplog, tmp_path):
  def behave(body, number, kind):
    if number == 1:
      return 500, error(f'your key {KEY} is fine')
    out = good(body, number, kind)[1]
    return 200, {**out, 'choices': [{
        **out['choices'][0], 'message': {
            'role': 'assistant', 'content': f'take the key, {KEY}'}}]}
  _, provider = make(behave)
  with pytest.raises(errors.FailedCall) as e:
    provider.ask(query())
  assert KEY not in str(e.value) and '***' in str(e.value)
  try:
    assert KEY not in provider.ask(query()).raw
  except errors.ParseError as e:
    assert KEY not in e.raw and KEY not in str(e)
