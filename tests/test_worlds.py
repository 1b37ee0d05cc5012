"""Worlds: the interface, its conformance test, the registry, numbers."""

import dataclasses
import importlib.metadata
import types

import elements
import numpy as np
import pytest

from lore_plugin import errors
from lore_plugin.advisor.types import Description
from lore_plugin.worlds import base
from lore_plugin.worlds import registry
from lore_plugin.worlds.base import Question, Situation, World
from lore_plugin.worlds.check import check_world, pursue


class Corridor:
  """Nine cells, a door somewhere: walk onto it. A Gymnasium environment."""

  def reset(self, seed=None):
    rng = np.random.default_rng(seed)
    self.place, self.door = 4, int(rng.choice([0, 8]))
    return self.see(), {}

  def step(self, action):
    self.place = int(np.clip(self.place + (-1, 1, 0)[action], 0, 8))
    won = self.place == self.door
    return self.see(), float(won), won, False, {}

  def see(self):
    return {'place': self.place, 'door': abs(self.place - self.door) < 3}


class CorridorWorld(World):
  """Remembers which end was seen, and whether the door was there."""

  version = 'corridor-1'
  actions = ('left', 'right', '')

  def __init__(self, env, task='corridor'):
    super().__init__(env, task)
    self.reset()

  def reset(self):
    self.seen = {}

  def observe(self, obs, action=None):
    end = 0 if obs['place'] < 3 else 8 if obs['place'] > 5 else None
    if end is not None:
      self.seen[end] = obs['door']
    choices = {}
    for name, end, move in (('left', 0, 0), ('right', 8, 1)):
      if self.seen.get(end) is None:
        choices[f'look to the {name}'] = (move,)
      elif self.seen[end]:
        choices['go to the door'] = (move,)
    known = 'the door' if 'go to the door' in choices else 'nothing'
    events = ('episode start',) if action is None else ()
    return Situation(
        Question('find the door', f'You know of {known}.',
                 tuple(choices)), tuple(choices.values()), events)


def check(world, **kwargs):
  return check_world(world, world.env, **kwargs)


class Number:
  """A Gymnasium environment whose observation is a number."""

  def reset(self, seed=None):
    self.left = 3
    return self.left, {}

  def step(self, action):
    self.left -= 1
    return self.left, 0.0, self.left == 0, False, {}


class NumberWorld(World):
  """Reads it under the name that it has in training."""

  version = 'number-1'
  actions = ('wait',)

  def reset(self):
    pass

  def observe(self, obs, action=None):
    return Situation(
        Question('wait', f'{obs["obs"]} left.', ('wait',)), ((0,),))


def test_observations_without_names():
  world = NumberWorld(Number(), 'number')
  [path] = check_world(world, world.env, seeds=[0])
  assert [x.question.facts for x in path] == [
      '3 left.', '2 left.', '1 left.', '0 left.']
  ends = pursue(world, world.env, 0, lambda x: 'wait', patience=1)
  assert [(x[0], x[2].question.facts, x[3]) for x in ends] == [
      ('wait', '2 left.', False), ('wait', '1 left.', False),
      ('wait', '0 left.', True)]


class TestConformance:

  def test_a_good_world(self):
    episodes = check(CorridorWorld(Corridor()))
    assert len(episodes) == 3 and all(len(x) > 3 for x in episodes)

  def test_a_name_that_comes_true(self):
    def choose(situation):
      return situation.question.choices[0]
    found = pursue(CorridorWorld(Corridor()), Corridor(), 0, choose)
    name, before, after, ended = found[-1]
    assert name == 'go to the door' and ended
    assert name in before.question.choices

  @pytest.mark.parametrize('change', [
      dict(skills=()), dict(skills=((0, 0), (1,))), dict(skills=((2,), (1,))),
      dict(skills=((7,), (1,)))])
  def test_broken_skills(self, change):
    class Bad(CorridorWorld):
      def observe(self, obs, action=None):
        good = super().observe(obs, action)
        return dataclasses.replace(good, **change)
    with pytest.raises(AssertionError):
      check(Bad(Corridor()))

  @pytest.mark.parametrize('change', [
      dict(facts=''), dict(facts='a\nb'), dict(choices=('x', 'x')),
      dict(choices=('', 'x'))])
  def test_broken_questions(self, change):
    class Bad(CorridorWorld):
      def observe(self, obs, action=None):
        good = super().observe(obs, action)
        return dataclasses.replace(
            good, question=dataclasses.replace(good.question, **change),
            skills=((0,), (1,)))
    with pytest.raises(AssertionError):
      check(Bad(Corridor()))

  def test_what_outlives_a_reset(self):
    class Bad(CorridorWorld):
      seen = {}
      def reset(self):
        pass
    with pytest.raises(AssertionError, match='not the same after a reset'):
      check(Bad(Corridor()))

  def test_randomness(self):
    rng = np.random.default_rng(0)
    class Bad(CorridorWorld):
      def observe(self, obs, action=None):
        good = super().observe(obs, action)
        return dataclasses.replace(good, events=(str(rng.random()),))
    with pytest.raises(AssertionError, match='not the same after a reset'):
      check(Bad(Corridor()))

  def test_meddling(self):
    class Bad(CorridorWorld):
      def observe(self, obs, action=None):
        good = super().observe(obs, action)
        obs['place'] = 0
        return good
    with pytest.raises(AssertionError, match='input changed'):
      check(Bad(Corridor()))

  def test_what_cannot_be_seen(self):
    class Bad(CorridorWorld):
      def observe(self, obs, action=None):
        good = super().observe(obs, action)
        question = dataclasses.replace(
            good.question, facts=f'The door is at {self.env.door}.')
        return dataclasses.replace(good, question=question)
    class Mirrored(Corridor):
      def reset(self, seed=None):
        super().reset(seed)
        self.door = 8 - self.door
        return self.see(), {}
    def other(world):
      def make(seed, actions):
        env = Mirrored()
        return world(env), env
      return make
    # Too few steps to see either end.
    check(CorridorWorld(Corridor()), steps=1, other=other(CorridorWorld))
    with pytest.raises(AssertionError, match='told something hidden'):
      check(Bad(Corridor()), steps=1, other=other(Bad))

  def test_no_room(self):
    with pytest.raises(errors.EnvError, match='lore.text_bytes'):
      check(CorridorWorld(Corridor()), size=64)

  def test_what_travels(self):
    world = CorridorWorld(Corridor())
    situation = world.observe(world.env.reset(seed=0)[0])
    desc = base.describe(situation, world)
    assert (desc.text, desc.mission) == ('You know of nothing.',
                                         'find the door')
    assert [(x.name, x.actions) for x in desc.options] == [
        ('look to the left', (0,)), ('look to the right', (1,))]
    assert desc.events == ('episode start',)
    assert desc.version == 'corridor-1'
    # Who is asked for actions needs to know where they lead.
    assert base.describe(situation, world, steps=True).text == (
        'You know of nothing. To look to the left: left. '
        'To look to the right: right.')


class TestGeneric:

  spaces = {
      'angle': elements.Space(np.float32),
      'count': elements.Space(np.int32, (3,), 0, 9),
      'image': elements.Space(np.uint8, (64, 64, 3)),
      'log/x': elements.Space(np.float32),
      'lore/prior': elements.Space(np.float32, (2,)),
      'many': elements.Space(np.float32, (30,)),
      'on': elements.Space(bool),
      'reward': elements.Space(np.float32),
      'is_first': elements.Space(bool)}

  def world(self, **kwargs):
    acts = {'action': elements.Space(np.int32, (), 0, 2),
            'reset': elements.Space(bool)}
    env = types.SimpleNamespace(
        obs_space=self.spaces, act_space=acts, **kwargs)
    return registry.GenericWorld(env, 'toy')

  def obs(self, **kwargs):
    return {
        'angle': np.float32(0.1234), 'count': np.array([1, 2, 3]),
        'image': np.zeros((64, 64, 3), np.uint8), 'log/x': np.float32(7),
        'many': np.zeros(30), 'on': True, 'reward': np.float32(5),
        'is_first': True, 'lore/prior': np.ones(2), **kwargs}

  def test_words(self):
    zeros = ', '.join(['0'] * 24)
    world = self.world()
    situation = world.observe(self.obs())
    assert situation.question.facts == (
        f'angle is 0.12. count is 1, 2, 3. many is {zeros} and 6 more. '
        f'on is yes.')
    assert world.actions == ('action 0', 'action 1')
    assert situation.question.choices == ()

  def test_the_tasks_own_words_for_actions(self):
    assert self.world(action_names=('stay', 'jump')).actions == (
        'stay', 'jump')
    assert self.world(action_names=('stay',)).actions[0] == 'action 0'

  def test_odd_numbers(self):
    world = self.world()
    texts = [
        world.observe(self.obs(angle=np.float32(x))).question.facts
        for x in (-0.0, np.nan, np.inf, 1e9)]
    assert [x.split('.')[0] for x in texts] == [
        'angle is 0', 'angle is nan', 'angle is inf', 'angle is 1e+09']


class TestRegistry:

  def test_builtins(self):
    assert {'generic', 'minigrid'} <= set(registry.names())
    assert registry.get('minigrid') is registry.MiniGridWorld
    assert registry.choose('auto', 'minigrid') is registry.MiniGridWorld
    assert registry.choose('auto', 'toy') is registry.GenericWorld

  def test_unknown(self):
    with pytest.raises(
        errors.ConfigError, match='auto, crafter, generic, minigrid'):
      registry.get('minigird')

  def test_the_world_without_memory_is_gone(self):
    with pytest.raises(errors.ConfigError, match='Type --lore.world minigrid'):
      registry.get('minigrid-view')

  def test_a_class_by_its_path(self):
    name = f'{__name__}:CorridorWorld'
    assert registry.choose(name, 'minigrid') is CorridorWorld

  @pytest.mark.parametrize('name, words', [
      ('no_such_package:Thing', 'ModuleNotFoundError.*no_such_package'),
      ('lore_plugin.worlds.base:Nothing', 'AttributeError.*lore.world auto'),
      ('lore_plugin.worlds.base:Question', 'must be a subclass')])
  def test_classes_that_cannot_be_used(self, name, words):
    with pytest.raises(errors.ConfigError, match=words):
      registry.get(name)

  @pytest.mark.parametrize('group, words', [
      (registry.GROUP, ''), (registry.OLD, 'is a describer.*reset, observe')])
  def test_other_packages(self, monkeypatch, group, words):
    entry = importlib.metadata.EntryPoint(
        'other', 'lore_plugin.worlds.generic:GenericWorld', group)
    monkeypatch.setattr(
        registry, '_plugins', lambda x: {'other': entry} if x == group else {})
    if words:
      with pytest.raises(errors.ConfigError, match=words):
        registry.get('other')
    else:
      assert 'other' in registry.names()
      assert registry.get('other') is registry.GenericWorld


def test_through_an_environment():
  """What the world says is what the advisor reads."""
  from lore_plugin.worlds import wrapper
  class Toy:
    act_space = {'action': elements.Space(np.int32, (), 0, 3),
                 'reset': elements.Space(bool)}
    obs_space = {'is_first': elements.Space(bool)}
    def step(self, action):
      return {'place': 4, 'door': False, 'is_first': bool(action['reset'])}
  env = wrapper.Describe(Toy(), CorridorWorld(None), 512)
  obs = env.step({'action': 0, 'reset': True})
  assert obs['lore/state'] in env.obs_space['lore/state']
  found = Description.decode(obs['lore/state'])
  assert found.events == ('episode start',)
  after = env.step({'action': 1, 'reset': False})
  assert Description.decode(after['lore/state']).events == ()


class Toy:
  """Fails, or returns what is no number, at the third step."""

  act_space = {'action': elements.Space(np.int32, (), 0, 3),
               'reset': elements.Space(bool)}
  obs_space = {'is_first': elements.Space(bool)}

  def __init__(self, trouble):
    self.trouble = trouble
    self.steps = 0

  def step(self, action):
    self.steps = 0 if action['reset'] else self.steps + 1
    bad = self.steps == 3
    if bad and self.trouble == 'raise':
      raise KeyError('paint')
    number = np.float32(np.nan if bad else 1)
    return {
        'place': 4, 'door': False, 'is_first': self.steps == 0,
        'reward': number if self.trouble == 'reward' else np.float32(0),
        'speed': np.full(2, number if self.trouble == 'speed' else 0)}


class Broken(CorridorWorld):

  def observe(self, obs, action=None):
    if action == 2:
      raise ValueError('no words')
    return super().observe(obs, action)


@pytest.mark.parametrize('trouble, words', [
    ('raise', "environment failed in step 3 .*'corridor'.*KeyError: 'paint'"),
    ('reward', 'not finite in step 3.*reward nan'),
    ('speed', 'not finite in step 3.*speed .nan nan'),
    ('', 'world corridor-1 failed in step 4.*ValueError: no words'),
])
def test_what_fails_in_an_episode_is_said(trouble, words):
  from lore_plugin.worlds import wrapper
  env = wrapper.Describe(Toy(trouble), Broken(None), 512)
  env.step({'action': 0, 'reset': True})
  with pytest.raises(errors.EnvError, match=f'{words}.*same --logdir'):
    for action in (0, 0, 0, 2):
      env.step({'action': action, 'reset': False})
