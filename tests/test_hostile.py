"""Texts and answers that mean harm, or none at all: property tests.

LORE_CASES=10000 python -m pytest tests/test_hostile.py runs as many cases of
each.
"""

import json
import math
import os

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from lore_plugin import errors
from lore_plugin.advisor import ground
from lore_plugin.advisor import prompts
from lore_plugin.advisor import advisor as service
from lore_plugin.advisor import store as storelib
from lore_plugin.advisor.check import HOSTILE
from lore_plugin.advisor.providers import anthropic as anthropiclib
from lore_plugin.advisor.providers import forms
from lore_plugin.advisor.providers import manners
from lore_plugin.advisor.providers import openai as openailib
from lore_plugin.advisor.providers.mock import Mock
from lore_plugin.advisor.types import Description, Option, Query

cases = hypothesis.settings(
    max_examples=int(os.environ.get('LORE_CASES', '100')), deadline=None,
    derandomize='LORE_CASES' not in os.environ, database=None,
    suppress_health_check=list(hypothesis.HealthCheck))

# Anything that Python calls text: also control characters, lone surrogates,
# and the marks that prompts, servers and our own files use.
MARKS = st.sampled_from(HOSTILE + (
    '\n', '\r\n', '\u2028', '\x85', '# question\n', 'Mission: ', 'State: ',
    '\n\nHuman:', '\n\nAssistant:', '<|endoftext|>', '{mission}', '{', '}',
    '"', '\\', '\\n', '1. ', 'Candidates:', '\ufeff', '\u200b'))
TEXT = st.text(st.characters(codec=None), max_size=60)
HARM = st.lists(st.one_of(TEXT, MARKS), max_size=5).map(''.join)
WORDS = ('left', 'right', 'forward')


def query(text, mission, candidates=('left', 'right'), mode='action'):
  desc = Description(text, mission, WORDS, version='t-1')
  return Query(desc, tuple(candidates), mode)


@pytest.mark.parametrize('mode', sorted(prompts.VERSIONS))
class TestPrompts:

  @cases
  @hypothesis.given(text=HARM, mission=HARM, word=HARM)
  def test_structure_stays(self, mode, text, mission, word):
    plain = prompts.render(query('x', 'y', ('a', 'b'), mode))
    got = prompts.render(query(text, mission, (word, 'b'), mode))
    assert (got.version, got.system, got.prefix) == (
        plain.version, plain.system, plain.prefix)
    for name in ('mission', 'question'):
      one, two = getattr(plain, name), getattr(got, name)
      lines, others = one.splitlines(), two.splitlines()
      assert len(lines) == len(others), (name, two)
      for line, other in zip(lines, others):
        assert other.split(':')[0] == line.split(':')[0]
      assert one.endswith('\n') == two.endswith('\n')
    assert len(got.candidates) == 2
    for x in got.candidates:
      assert x and x == x.strip() and len(x.splitlines()) == 1

  @cases
  @hypothesis.given(text=HARM, mission=HARM, word=HARM)
  def test_requests_are_json(self, mode, text, mission, word):
    prompt = prompts.render(query(text, mission, (word, 'b'), mode))
    requests = [
        lib.request('m', prompt, manners.Form(rung=i))
        for lib in (anthropiclib, openailib) for i in range(len(lib.RUNGS))]
    plain = prompts.render(query('x', 'y', ('a', 'b'), mode))
    for got in requests:
      json.dumps(got, allow_nan=False).encode('utf-8')
    one = anthropiclib.request('m', plain)
    got = requests[0]
    assert got['system'] == one['system']
    assert got['tool_choice'] == one['tool_choice']
    assert len(got['messages']) == 1
    lines = lambda x: len(x['messages'][0]['content'].splitlines())
    assert lines(got) == lines(one)


# Values as JSON knows them, and those that Python's reader lets through.
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda x: st.lists(x, max_size=4) | st.dictionaries(
        st.sampled_from((
            'type', 'text', 'tool_use', 'name', 'advise', 'input', 'score_1',
            'score_2', 'method', 'candidates', 'choices', 'tokens',
            'arguments')), x, max_size=5), max_leaves=12)
BLOCKS = st.lists(st.fixed_dictionaries({
    'type': st.sampled_from(('text', 'tool_use')), 'name': st.just('advise'),
    'input': JSON, 'text': JSON}), max_size=3)
TOKENS = st.lists(st.tuples(
    st.sampled_from(('le', 'ft', 'right', ' ', '')),
    st.lists(st.tuples(
        st.sampled_from(('le', 'ft', 'right', 'r', '"')) | TEXT,
        st.floats() | st.integers() | TEXT | st.none()), max_size=4)),
    max_size=4)
CHOICES = st.lists(st.fixed_dictionaries(
    {'text': JSON, 'tokens': TOKENS | JSON}), max_size=3)


def finite(scores, count):
  assert len(scores) == count
  assert all(type(x) is float and math.isfinite(x) for x in scores)


def survives(provider, raw):
  try:
    finite(provider.parse(raw, 2), 2)
  except errors.ParseError:
    pass


class TestParsing:

  @cases
  @hypothesis.given(raw=HARM | JSON.map(json.dumps) | BLOCKS.map(json.dumps))
  def test_anthropic(self, raw):
    survives(anthropiclib.Anthropic({}, client=object()), raw)

  @cases
  @hypothesis.given(
      raw=HARM | JSON.map(json.dumps),
      method=st.sampled_from(openailib.METHODS), choices=CHOICES)
  def test_openai(self, raw, method, choices):
    provider = openailib.OpenAI({}, client=object())
    survives(provider, raw)
    survives(provider, json.dumps({
        'method': method, 'candidates': ['left', 'right'],
        'choices': choices}))

  @cases
  @hypothesis.given(
      one=st.integers(0, 100), two=st.integers(0, 100), before=HARM,
      after=HARM)
  def test_what_is_there_is_found(self, one, two, before, after):
    hypothesis.assume('{' not in before)
    text = f'{before}{{"score_1": {one}, "score_2": {two}}}{after}'
    got = forms.read_scores(forms.read_text(text), 2)
    finite(got, 2)
    assert got[0] - got[1] == pytest.approx(
        math.log(one + 1) - math.log(two + 1))

  def test_ten_megabytes(self):
    provider = anthropiclib.Anthropic({}, client=object())
    for text in ('{' * 10 ** 7, 'x' * 10 ** 7, '[' * 10 ** 7,
                 'score_1' * 10 ** 6, '{"score_1":' * 10 ** 6):
      survives(provider, json.dumps([{'type': 'text', 'text': text}]))


class TestGrounding:

  @cases
  @hypothesis.given(
      scores=st.lists(
          st.floats(allow_nan=False, allow_infinity=False), min_size=2,
          max_size=2),
      actions=st.lists(st.sampled_from(('', 'a', 'b')), min_size=1,
                       max_size=5),
      sets=st.lists(st.lists(st.integers(-3, 9), max_size=4), min_size=2,
                    max_size=2),
      mode=st.sampled_from(('action', 'subgoal')))
  def test_laws(self, scores, actions, sets, mode):
    names = ('x', 'y')
    desc = Description(
        't', 'm', tuple(actions),
        tuple(Option(n, tuple(s)) for n, s in zip(names, sets)))
    words = names if mode == 'subgoal' else ('a', 'b')
    calibration = ground.Calibration()
    calibration.add(words, scores)
    got = ground.ground(desc, mode, words, scores, calibration.biases())
    if got is None:
      return
    allowed = np.array([bool(x) for x in actions])
    assert got.shape == (len(actions),) and got.dtype == np.float32
    assert np.isfinite(got).all()
    assert abs(got[allowed].mean()) < 1e-4
    assert (got[~allowed] <= got[allowed].min() + 1e-6).all()


class TestService:

  @cases
  @hypothesis.given(
      data=st.binary(max_size=64) | JSON.map(
          lambda x: json.dumps(x).encode()) | st.tuples(
              HARM, HARM, st.lists(HARM, min_size=3, max_size=3),
              st.lists(st.tuples(HARM, st.lists(st.integers(-2, 5), max_size=3)
                                 ), max_size=3),
              st.lists(HARM, max_size=2), HARM).map(
                  lambda x: json.dumps(x).encode()))
  def test_any_bytes(self, data):
    advisor = service.Advisor(Mock(), 3)
    states = np.zeros((1, 4096), np.uint8)
    data = data[:4096]
    states[0, :len(data)] = np.frombuffer(data, np.uint8)
    advisor.consider(states, [0], [0.0], [0.0], [True], [False])
    prior, valid = advisor.lookup(states)
    assert prior.shape == (1, 3) and np.isfinite(prior).all()
    assert valid[0] or not prior.any()
    assert 'failures_internal' not in advisor.stats()
    advisor.close()

  @cases
  @hypothesis.given(text=HARM, mission=HARM, raw=HARM)
  def test_any_text_is_stored(self, text, mission, raw):
    from lore_plugin.advisor.types import Reply
    store = storelib.Store(':memory:')
    identity = storelib.Identity('mock', 'mock', '')
    item = query(text, mission)
    key = storelib.reply_key(identity, item)
    ticket, _ = store.reserve('run', key)
    store.settle(ticket, identity, item, Reply((0.0, 1.0), raw))
    assert store.get(key)['scores'] == (0.0, 1.0)
    store.close()
