"""Gymnasium tasks: spaces, ends of episodes, seeds, and what goes wrong."""

import sys

import elements
import gymnasium
import numpy as np
import pytest

from lore_plugin import config as configlib
from lore_plugin import errors
from lore_plugin import worlds
from lore_plugin.advisor import types
from lore_plugin.worlds.gymnasium import spaces
from lore_plugin.worlds.gymnasium.env import Gymnasium

IDS = [
    k for k, v in gymnasium.registry.items()
    if any(x in str(v.entry_point) for x in ('toy_text', 'classic_control'))]
BOX = gymnasium.spaces.Box
DISCRETE = gymnasium.spaces.Discrete


class Scripted(gymnasium.Env):
  """Returns what it was told to, one row a step."""

  observation_space = BOX(-1, 1, (2,))
  action_space = DISCRETE(3, start=-1)

  def __init__(self, rows=(), success=None):
    self.rows = list(rows)
    self.success = success
    self.acts = []
    self.seeds = []

  def reset(self, *, seed=None, options=None):
    self.seeds.append(seed)
    self.left = iter(self.rows)
    return np.zeros(2, np.float32), {}

  def step(self, action):
    self.acts.append(action)
    row = next(self.left, (0.0, False, False))
    if isinstance(row, Exception):
      raise row
    info = {} if self.success is None else {'is_success': row[1]}
    return np.zeros(2, np.float32), *row, info


@pytest.fixture
def scripted():
  def make(*rows, **kwargs):
    gymnasium.registry.pop('Scripted-v0', None)
    gymnasium.register('Scripted-v0', lambda: Scripted(rows, **kwargs))
    return Gymnasium('Scripted-v0')
  yield make
  gymnasium.registry.pop('Scripted-v0', None)


def go(env, action=0, reset=False):
  return env.step({'action': np.int32(action), 'reset': reset})


@pytest.mark.parametrize('name', IDS)
def test_every_small_task_keeps_its_spaces(name):
  env = Gymnasium(name)
  first = env.step({
      **{k: v.sample() for k, v in env.act_space.items()}, 'reset': True})
  assert first['is_first'] and not first['is_last']
  for _ in range(30):
    acts = {k: v.sample() for k, v in env.act_space.items()}
    obs = env.step({**acts, 'reset': False})
    assert obs.keys() == env.obs_space.keys()
    for key, space in env.obs_space.items():
      assert obs[key] in space, (key, obs[key], space)


def test_time_limit_is_no_terminal_state(scripted):
  env = scripted((0.0, False, False), (1.0, False, True))
  go(env)
  go(env)
  end = go(env)
  assert end['is_last'] and not end['is_terminal'] and end['reward'] == 1
  assert go(env)['is_first']


def test_termination_is_terminal(scripted):
  env = scripted((2.0, True, False))
  go(env)
  end = go(env)
  assert end['is_last'] and end['is_terminal']


def test_actions_begin_where_the_space_does(scripted):
  env = scripted()
  inner = env.env.unwrapped
  go(env)
  inner.acts.clear()
  go(env, 0), go(env, 2)
  assert inner.acts == [-1, 1]


def test_seeds_reach_the_task_and_tell_episodes_apart():
  episodes = lambda **kw: [
      int(Gymnasium('Taxi-v4', **kw).step(
          {'action': 0, 'reset': True})['obs']) for _ in range(2)]
  same = episodes(seed=3)
  assert same[0] == same[1]
  firsts = {
      int(Gymnasium('Taxi-v4', seed=s, index=i, heldout=h).step(
          {'action': 0, 'reset': True})['obs'])
      for s in range(3) for i in range(3) for h in (False, True)}
  assert len(firsts) > 12  # Of 18 draws among 300 starts.


def test_success_is_what_the_task_says(scripted):
  env = scripted((1.0, True, False), success=True)
  assert 'log/success' in env.obs_space
  go(env)
  assert go(env)['log/success'] == 1
  assert 'log/success' not in scripted().obs_space


@pytest.mark.parametrize('row, words', [
    ((float('nan'), False, False), 'reward nan'),
    ((float('inf'), False, False), 'reward inf'),
    (ValueError('out of paint'), 'out of paint'),
])
def test_what_fails_in_an_episode_is_said(scripted, row, words):
  env = scripted((0.0, False, False), row)
  go(env)
  go(env)
  with pytest.raises(errors.EnvError, match=f'step 2 of .*{words}'):
    go(env)


@pytest.mark.parametrize('space, expected', [
    (DISCRETE(5, start=2), {'obs': ((), np.int32)}),
    (DISCRETE(10 ** 9), {'obs': ((1,), np.float32)}),
    (BOX(0, 255, (8, 6, 3), np.uint8), {'image': ((4, 4, 3), np.uint8)}),
    (BOX(0, 255, (8, 6, 1), np.uint8), {'image': ((4, 4, 1), np.uint8)}),
    (BOX(0, 255, (8, 6), np.uint8), {'obs': ((48,), np.float32)}),
    (BOX(-np.inf, np.inf, (2, 3)), {'obs': ((6,), np.float32)}),
    (gymnasium.spaces.MultiBinary((2, 2)), {'obs': ((4,), np.int32)}),
    (gymnasium.spaces.MultiDiscrete([3, 4]), {'obs': ((2,), np.int32)}),
    (gymnasium.spaces.Tuple([DISCRETE(2), BOX(0, 1, (1,))]),
     {'obs_0': ((), np.int32), 'obs_1': ((1,), np.float32)}),
    (gymnasium.spaces.Dict(a=DISCRETE(2), b=gymnasium.spaces.Dict(
        c=BOX(0, 1, (2,)))), {'a': ((), np.int32), 'b_c': ((2,), np.float32)}),
])
def test_spaces_are_flat_and_hold_what_is_sampled(space, expected):
  found = spaces.flatten(space, 'obs', (4, 4), 'task')
  assert {
      k: (v.shape, v.dtype) for k, (v, _) in found.items()} == expected
  for _ in range(20):
    raw = space.sample()
    for kind, read in found.values():
      assert np.asarray(read(raw)) in kind


def test_what_cannot_be_read_is_said():
  text = gymnasium.spaces.Text(5)
  with pytest.raises(errors.EnvError, match='observes \'note\' as Text'):
    spaces.flatten(
        gymnasium.spaces.Dict(note=text), 'obs', (4, 4), 'task')
  with pytest.raises(errors.EnvError, match='can\'t act'):
    spaces.actions(text, 'task')
  with pytest.raises(errors.EnvError, match='without bounds'):
    spaces.actions(BOX(-np.inf, np.inf, (2,)), 'task')


@pytest.mark.parametrize('space', [
    DISCRETE(4, start=3), BOX(-2, 3, (2,)),
    gymnasium.spaces.MultiDiscrete([3, 5, 2]),
    gymnasium.spaces.MultiBinary(3)])
def test_actions_are_those_of_the_task(space):
  found, convert = spaces.actions(space, 'task')
  for _ in range(20):
    act = convert({k: v.sample() for k, v in found.items()})
    assert space.contains(act), act


@pytest.mark.parametrize('kwargs, words', [
    ({'task': 'CartPol-v1'}, 'CartPole-v1.*--env.gymnasium.imports'),
    ({'task': 'CartPole-v1', 'imports': 'no_such_package'},
     'no_such_package.*can\'t be imported'),
    ({'task': 'FrozenLake-v1', 'kwargs': '{"map_name": "3x3"}'},
     'can\'t be made: KeyError'),
    ({'task': 'FrozenLake-v1', 'kwargs': '[1]'}, 'must be a JSON object'),
    ({'task': 'FrozenLake-v1', 'kwargs': '{x'}, 'no JSON'),
    ({'task': 'no_such_package:Env-v0'}, 'can\'t be made'),
])
def test_bad_names_say_what_to_type(kwargs, words):
  with pytest.raises(errors.EnvError, match=words):
    Gymnasium(**kwargs)


def test_keyword_arguments_reach_the_task():
  env = Gymnasium('FrozenLake-v1', kwargs='{"map_name": "8x8"}')
  assert env.obs_space['obs'] == elements.Space(np.int32, (), 0, 64)


def make(task, *argv, enabled=True):
  config = configlib.resolve(
      [*(['--configs', 'lore'] if enabled else []), '--task',
       f'gymnasium_{task}', *argv], configlib.load())
  return worlds.make_as(True, config, 0, None)


class Many(gymnasium.Env):
  """Takes two actions at a time."""

  observation_space = BOX(-1, 1, (2,))
  action_space = gymnasium.spaces.MultiDiscrete([3, 2])

  def reset(self, *, seed=None, options=None):
    return np.zeros(2, np.float32), {}

  def step(self, action):
    return np.zeros(2, np.float32), float(action.sum()), False, False, {}


@pytest.mark.parametrize('task', ['Pendulum-v1', 'Many-v0'])
def test_other_actions_run_without_lore_and_are_refused_with_it(task):
  gymnasium.register('Many-v0', Many)
  try:
    env = make(task, enabled=False)
    for reset in (True, False, False):
      acts = {k: v.sample() for k, v in env.act_space.items()}
      obs = env.step({**acts, 'reset': reset})
    assert np.isfinite(obs['reward']) and 'lore/state' not in obs
    with pytest.raises(errors.EnvError, match='single discrete action'):
      make(task)
  finally:
    gymnasium.registry.pop('Many-v0', None)


def test_small_tasks_with_numbers_are_described():
  env = make('Taxi-v4', '--lore.advisor.mode', 'action')
  obs = env.step({'action': 0, 'reset': True})
  desc = types.Description.decode(obs['lore/state'])
  assert desc.text.startswith('obs is ') and len(desc.actions) == 6


ALE = """
import gymnasium
from test_gymnasium import Scripted


class Pong(Scripted):

  def get_action_meanings(self):
    return ['NOOP', 'RIGHTFIRE', 'LEFT']


gymnasium.register('ALE/Pong-v5', Pong)
"""


def test_atari_by_its_package(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, 'ale_py', None)
  with pytest.raises(errors.EnvError, match='pip install ale-py'):
    make('ALE/Pong-v5')
  monkeypatch.delitem(sys.modules, 'ale_py')
  (tmp_path / 'ale_py.py').write_text(ALE)
  monkeypatch.syspath_prepend(str(tmp_path))
  try:
    env = make('ALE/Pong-v5', '--lore.advisor.mode', 'action')
    state = env.step({'action': 0, 'reset': True})['lore/state']
    assert types.Description.decode(state).actions == (
        'noop', 'rightfire', 'left')
  finally:
    sys.modules.pop('ale_py', None)
    gymnasium.registry.pop('ALE/Pong-v5', None)
