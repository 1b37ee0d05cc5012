import json
import math

import pytest

from lore_plugin import errors
from lore_plugin.advisor import prompts
from lore_plugin.advisor.providers import manners
from lore_plugin.advisor.providers import openai as openailib
from lore_plugin.advisor.providers import words as wordslib
from lore_plugin.advisor.types import Description, Query

pytest.importorskip('openai')

WORDS = ('take the key', 'open the door', 'explore')
L = math.log


class TestWeigh:

  def test_first_tokens_tell(self):
    tokens = [('take', [('take', L(0.5)), ('open', L(0.2)), ('Ex', L(0.1))])]
    got = wordslib.weigh(WORDS, tokens)
    assert got == pytest.approx((L(0.5), L(0.2), L(0.1)))

  def test_case_space_and_quotes(self):
    tokens = [(' "', [(' "', 0.0)]), ('Take', [('Take', L(0.5))])]
    got = wordslib.weigh(WORDS, tokens)
    assert got[0] == pytest.approx(L(0.5))

  def test_tokens_that_begin_one_candidate_add_up(self):
    tokens = [('take', [('take', L(0.3)), (' Take', L(0.2)), ('ta', L(0.1))])]
    assert wordslib.weigh(WORDS, tokens)[0] == pytest.approx(L(0.6))

  def test_shared_beginning_is_followed(self):
    words = ('go to the door', 'go to the goal', 'explore')
    tokens = [
        ('go', [('go', L(0.8)), ('explore', L(0.2))]),
        (' to the', [(' to the', 0.0)]),
        (' goal', [(' goal', L(0.75)), (' door', L(0.25))]),
        ('.', [('.', 0.0)])]
    got = wordslib.weigh(words, tokens)
    assert got == pytest.approx((L(0.2), L(0.6), L(0.2)))

  def test_shared_alternative_is_split(self):
    words = ('go to the door', 'go to the goal', 'explore')
    tokens = [('explore', [('explore', L(0.4)), ('go', L(0.6))])]
    got = wordslib.weigh(words, tokens)
    assert got == pytest.approx((L(0.3), L(0.3), L(0.4)))

  def test_missing_candidate(self):
    tokens = [('take', [('take', L(0.5)), ('I', L(0.01))])]
    got = wordslib.weigh(WORDS, tokens)
    assert got == pytest.approx((L(0.5), L(0.01) - 1, L(0.01) - 1))

  def test_answer_goes_on(self):
    tokens = [('explore.', [('explore.', L(0.5))])]
    assert wordslib.weigh(WORDS, tokens)[2] == pytest.approx(L(0.5))
    tokens = [('explorer', [('explorer', L(0.5))])]
    assert wordslib.weigh(WORDS, tokens) is None

  @pytest.mark.parametrize('tokens', [
      None, [], [('I', [('I', 0.0)])], [('', [('', 0.0)])],
      [('take', [])], [('take', [('take', float('nan'))])],
      [('take', [('take', None)])], [('take', [('take', 3.0)])],
  ])
  def test_nothing_there(self, tokens):
    assert wordslib.weigh(WORDS, tokens) is None

  def test_impossible_is_finite(self):
    got = wordslib.weigh(WORDS, [('take', [
        ('take', L(0.9)), ('open', -float('inf'))])])
    assert all(map(math.isfinite, got))


class TestTally:

  def test_counts(self):
    texts = ['explore', 'Explore.', 'I would explore', 'take the key', '?']
    # 3.5, 0.5 and 1.5 of 5.5.
    got = wordslib.tally(WORDS, texts)
    assert got == pytest.approx((L(1.5 / 5.5), L(0.5 / 5.5), L(3.5 / 5.5)))

  def test_answers_that_name_several(self):
    assert wordslib.tally(WORDS, ['explore or open the door']) is None
    assert wordslib.tally(WORDS, []) is None


class TestParse:

  @pytest.fixture
  def provider(self):
    return openailib.OpenAI({}, client=object())

  def raw(self, method, **choice):
    return json.dumps({
        'method': method, 'candidates': WORDS, 'choices': [choice]})

  def test_stated(self, provider):
    text = '{"score_1": 0, "score_2": 98, "score_3": 99}'
    got = provider.parse(self.raw('stated', text=text), 3)
    assert got == pytest.approx((L(1 / 200), L(99 / 200), L(100 / 200)))

  @pytest.mark.parametrize('raw', [
      '', 'null', '[]', '{}', '{"method": "logprobs", "candidates": ["a"]}',
      '{"method": "x", "candidates": ["a", "b", "c"], "choices": [1]}',
      '{"method": "logprobs", "candidates": ["a", "b", "c"], "choices": []}',
      '<html>', '[' * 100_000])
  def test_out_of_order(self, provider, raw):
    with pytest.raises(errors.ParseError):
      provider.parse(raw, 3)

  def test_out_of_words(self, provider):
    for method in openailib.METHODS:
      with pytest.raises(errors.ParseError, match='no scores'):
        provider.parse(self.raw(method, text='I refuse.', tokens=None), 3)


class TestSetup:

  def test_missing_key(self, monkeypatch):
    monkeypatch.delenv('OPENAI_API_KEY', raising=False)
    monkeypatch.delenv('OPENAI_BASE_URL', raising=False)
    with pytest.raises(errors.MissingKey, match='export OPENAI_API_KEY'):
      openailib.OpenAI({})
    openailib.OpenAI({'url': 'http://127.0.0.1:9/v1'}).close()

  @pytest.mark.parametrize('rung', range(len(openailib.RUNGS)))
  def test_estimate_bounds_the_request(self, rung):
    provider = openailib.OpenAI(
        {'price': {'input': 1.0, 'output': 2.0}}, client=object())
    desc = Description('You see a key. ' * 50, 'm', ('l', 'r'))
    query = Query(desc, WORDS, 'subgoal')
    args = openailib.request(
        'm', prompts.render(query), manners.Form(rung=rung))
    tokens, money = provider.estimate(query)
    written = args['max_tokens'] * args.get('n', 1)
    assert tokens > written + len(args['messages'][1]['content'])
    assert money >= 1e-6 * len(
        args['messages'][1]['content']) + 2e-6 * written
