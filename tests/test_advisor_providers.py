import json
import math
import types as pytypes

import numpy as np
import pytest

from lore_plugin import errors
from lore_plugin.advisor import providers
from lore_plugin.advisor.providers import anthropic as anthropiclib
from lore_plugin.advisor.providers import scripted
from lore_plugin.advisor.providers.adversarial import Adversarial
from lore_plugin.advisor.providers.mock import Mock
from lore_plugin.advisor.providers.random import Random
from lore_plugin.advisor.providers.scripted import Scripted
from lore_plugin.advisor.providers.shuffled import Shuffled
from lore_plugin.advisor.types import Description, Option, Query, Reply

WORDS = (
    'turn left', 'turn right', 'move forward', 'pick up', '', 'toggle', '')
MISSION = 'go to the goal'


def query(text, options, mode='subgoal'):
  options = tuple(Option(*x) for x in options)
  desc = Description(text, MISSION, WORDS, options, version='d-1')
  words = [x.name for x in options] if mode == 'subgoal' else [
      x for x in WORDS if x]
  return Query(desc, tuple(words), mode)


def best(provider, *args, **kwargs):
  item = query(*args, **kwargs)
  return item.candidates[int(np.argmax(provider.ask(item).scores))]


KEY = ('take the green key', (2,))
DOOR = ('open the green door', (0,))
GOAL = ('go to the goal', (1,))
LOOK = ('explore', (0, 1))
MOVE = ('move what is in the way', (2,))
DROP = ('drop the green key', (3,))
FREE = 'You carry nothing. You know of '
HELD = 'You carry the green key. You know of '


class TestRegistry:

  def test_names(self):
    assert set(providers.BUILTIN) <= set(providers.names())

  @pytest.mark.parametrize('name', [
      x for x in providers.BUILTIN
      if x not in ('local', 'anthropic', 'openai')])
  def test_built_in(self, name):
    provider = providers.create(name, {}, 0)
    assert provider.name == name
    assert not provider.paid
    scores = provider.ask(query(FREE, [KEY, LOOK])).scores
    assert len(scores) == 2 and all(map(math.isfinite, scores))
    provider.close()
    provider.close()

  def test_unknown(self):
    with pytest.raises(
        errors.ConfigError, match="'gpt'.*anthropic, flawed, local"):
      providers.create('gpt', {}, 0)

  def test_auto(self, monkeypatch):
    monkeypatch.delenv('ANTHROPIC_API_KEY', raising=False)
    assert providers.resolve('auto') == 'local'
    monkeypatch.setenv('ANTHROPIC_API_KEY', 'x')
    assert providers.resolve('auto') == 'anthropic'
    assert providers.resolve('random') == 'random'

  def test_entry_point(self, monkeypatch):
    point = pytypes.SimpleNamespace(
        name='oracle', value='lore_plugin.advisor.providers.mock:Mock')
    monkeypatch.setattr(
        providers.importlib.metadata, 'entry_points', lambda group: [point])
    assert providers.load('oracle') is Mock
    assert 'oracle' in providers.names()

  def test_broken_entry_point(self, monkeypatch):
    point = pytypes.SimpleNamespace(name='oracle', value='no_such_module:X')
    monkeypatch.setattr(
        providers.importlib.metadata, 'entry_points', lambda group: [point])
    with pytest.raises(errors.ConfigError, match='no_such_module'):
      providers.load('oracle')


class TestScripted:

  @pytest.mark.parametrize('text, options, want', [
      (FREE + 'the locked green door, the green key.', [LOOK, KEY], KEY),
      (FREE + 'the locked green door.', [LOOK], LOOK),
      (HELD + 'the locked green door.', [LOOK, DOOR], DOOR),
      (HELD + 'the goal.', [DOOR, GOAL, LOOK], GOAL),
      (HELD + 'the goal.', [DOOR, (GOAL[0], ()), LOOK], DOOR),
      (HELD + 'nothing that matters.', [DROP, LOOK], LOOK),
      (FREE + 'the locked green door out of reach.', [LOOK, MOVE], MOVE),
      (FREE + 'something in the way.', [LOOK, MOVE], LOOK),
  ])
  def test_rules(self, text, options, want):
    assert best(Scripted(), text, options) == want[0]

  def test_action_mode(self):
    assert best(Scripted(), FREE, [KEY, LOOK], mode='action') == WORDS[2]

  def test_adversarial_is_the_opposite(self):
    item = query(FREE, [KEY, LOOK])
    good, bad = Scripted().ask(item), Adversarial().ask(item)
    assert np.array_equal(good.scores, -np.array(bad.scores))
    assert scripted.score(item).tolist() == [4.0, 0.0]


class TestRandom:

  def test_fixed_by_seed_and_state(self):
    items = [query(f'{FREE}{i}', [KEY, DOOR, LOOK]) for i in range(60)]
    draw = lambda seed: [Random({}, seed).ask(x).scores for x in items]
    assert draw(0) == draw(0)
    assert draw(0) != draw(1)
    assert Random({}, 0).model != Random({}, 1).model
    counts = np.argmax(draw(0), 1)
    assert np.bincount(counts, minlength=3).min() >= 10


class TestShuffled:

  def test_keeps_what_is_advised_but_not_where(self):
    states = [query(f'{FREE}{i}', [KEY, LOOK]) for i in range(40)] + [
        query(f'{HELD}{i}', [KEY, LOOK]) for i in range(40)]
    order = np.random.default_rng(0).permutation(80)
    provider = Shuffled({}, 0)
    advised = {
        i: int(np.argmax(provider.ask(states[i]).scores)) for i in order}
    share = np.array([advised[i] for i in range(80)])
    # Half of all states are advised the key, in either half of the states.
    assert 0.25 < share[:40].mean() < 0.75
    assert 0.25 < share[40:].mean() < 0.75

  def test_same_state_same_advice(self):
    provider = Shuffled({}, 0)
    items = [query(f'{FREE}{i}', [KEY, LOOK]) for i in range(5)]
    first = [provider.ask(x).scores for x in items]
    assert [provider.ask(x).scores for x in items] == first


class TestMock:

  def test_queue_then_default(self):
    provider = Mock(replies=[
        (1.0, 2.0), errors.BusyCall('later'), Reply((0.0, 0.0), 'r'),
        lambda query: (5.0, 6.0)])
    item = query(FREE, [KEY, LOOK])
    assert provider.ask(item).scores == (1.0, 2.0)
    with pytest.raises(errors.BusyCall):
      provider.ask(item)
    assert provider.ask(item).raw == 'r'
    assert provider.ask(item).scores == (5.0, 6.0)
    assert provider.ask(item).scores == (0.0, -1.0)
    assert provider.queries == [item] * 5


def parse(raw, count):
  provider = anthropiclib.Anthropic({}, client=object())
  return provider.parse(raw, count)


class TestAnthropicParse:

  def tool(self, **scores):
    return (
        '[{"type": "tool_use", "name": "advise", "input": {' + ', '.join(
            f'"{k}": {v}' for k, v in scores.items()) + '}}]')

  def text(self, text):
    return json.dumps([{'type': 'text', 'text': text}])

  def test_worked(self):
    got = parse(self.tool(score_1=0, score_2=98), 2)
    assert got == pytest.approx((math.log(0.01), math.log(0.99)))

  @pytest.mark.parametrize('text', [
      '{"score_1": 0, "score_2": 98}',
      'Sure! ```json\n{"score_1": 0, "score_2": 98}\n```',
      '{"name": "advise", "arguments": {"score_1": 0, "score_2": 98}}',
      '{"score_1": 0, "score_2": 98, "score_3": 7',
      "score_1: 0, score_2: 98",
      '{"score_1": "0", "score_2": "98"}',
  ])
  def test_text(self, text):
    got = parse(self.text(text), 2)
    assert got == pytest.approx((math.log(0.01), math.log(0.99)))

  @pytest.mark.parametrize('raw', [
      '', '[]', '{}', 'null', '[1]', '[null]', '<html>',
      '[{"type": "tool_use", "name": "advise", "input": null}]',
      '[{"type": "tool_use", "name": "other",'
      ' "input": {"score_1": 1, "score_2": 2}}]',
      '[{"type": "text", "text": null}]',
      '[{"type": "text", "text": "I refuse."}]',
  ])
  def test_nothing_there(self, raw):
    with pytest.raises(errors.ParseError):
      parse(raw, 2)

  @pytest.mark.parametrize('scores', [
      dict(score_1=1), dict(score_1=1, score_2='"x"'),
      dict(score_1=1, score_2='true'), dict(score_1=1, score_2='NaN'),
      dict(score_1=1, score_2='Infinity'), dict(score_1=1, score_2=101),
      dict(score_1=-1, score_2=1), dict(score_1=1, score_2='[1]'),
      dict(score_1=1, score_2='1e999'), dict(score_1=1, score_2='null')])
  def test_bad_scores(self, scores):
    with pytest.raises(errors.ParseError, match='Expected 2 scores'):
      parse(self.tool(**scores), 2)


class TestAnthropicSetup:

  def test_missing_key(self, monkeypatch):
    monkeypatch.delenv('ANTHROPIC_API_KEY', raising=False)
    with pytest.raises(errors.MissingKey, match='export ANTHROPIC_API_KEY'):
      providers.create('anthropic', {'model': ''}, 0)

  def test_request(self):
    from lore_plugin.advisor import prompts
    prompt = prompts.render(query(FREE, [KEY, LOOK]))
    got = anthropiclib.request('m', prompt)
    assert got['tool_choice'] == {'type': 'tool', 'name': 'advise'}
    schema = got['tools'][0]['input_schema']
    assert schema['required'] == ['score_1', 'score_2', 'tag']
    assert '1. take the green key\n2. explore' in (
        got['messages'][0]['content'])
    assert got['system'][0]['cache_control'] == {'type': 'ephemeral'}


class TestFlawed:

  def right(self, share, seed=0, count=300):
    """Returns in which of some questions it agrees with the rules."""
    made = providers.create('flawed', {'model': str(share)}, seed)
    found = []
    for i in range(count):
      item = query(
          f'You know of the goal and {i} walls.',
          [LOOK, GOAL, ('take the red ball', (0,))])
      scores = made.ask(item).scores
      # Always the same answer, and one choice is clearly preferred.
      assert made.ask(item).scores == scores
      assert sorted(scores)[-1] > sorted(scores)[-2]
      found.append(scores[1] == max(scores))
    return np.array(found)

  def test_share_of_right_answers(self):
    assert not self.right(0).any() and self.right(1).all()
    assert self.right(0.5).mean() == pytest.approx(0.5, abs=0.1)

  def test_more_are_right_and_none_turns_wrong(self):
    few, many = self.right(0.25), self.right(0.75)
    assert (many | ~few).all() and few.sum() < many.sum()

  def test_which_ones_depends_on_the_seed(self):
    assert (self.right(0.5, seed=0) != self.right(0.5, seed=1)).any()

  @pytest.mark.parametrize('text', ['half', '-0.1', '1.5', 'nan'])
  def test_wrong_shares_are_said(self, text):
    with pytest.raises(errors.ConfigError, match='from 0 to 1'):
      providers.create('flawed', {'model': text}, 0)
