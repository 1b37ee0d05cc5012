"""Environments: spaces, seeds, endings, counters and bad input."""

import sys
import types
import warnings

import elements
import embodied
import numpy as np
import pytest

from lore_plugin import worlds as envs, errors
from lore_plugin.advisor.types import Description
from lore_plugin.worlds import seeds
from lore_plugin.worlds.minigrid import env as minigrid
from lore_plugin.worlds.minigrid import tasks
from lore_plugin.worlds.minigrid.env import MiniGrid
from lore_plugin.play import planner

LEFT, RIGHT, FORWARD, PICKUP, DROP, TOGGLE, DONE = range(7)
TASKS = (
    'DoorKey-5x5', 'MultiRoom-N2-S4', 'KeyCorridorS3R1', 'Unlock',
    'UnlockPickup', 'LavaGapS5', 'Fetch-5x5-N2', 'BabyAI-GoToRedBall-v0',
    'Dynamic-Obstacles-5x5')


def act(env, action=0, reset=False):
  return env.step({'action': np.int32(action), 'reset': reset})


def walk(env, steps, seed=0):
  rng = np.random.default_rng(seed)
  length = int(env.act_space['action'].high)
  return [
      act(env, rng.integers(length), reset=not i) for i in range(steps)]


def same(xs, ys):
  return len(xs) == len(ys) and all(
      x.keys() == y.keys() and all(np.array_equal(x[k], y[k]) for k in x)
      for x, y in zip(xs, ys))


def settings(task='minigrid_DoorKey-5x5', enabled=True, **lore):
  lore = {
      'text_bytes': 2048, 'world': 'auto', 'actions': '',
      'advisor': {'mode': 'subgoal'},
      **lore}
  return elements.Config(
      task=task, seed=3, lore={'enabled': enabled, **lore},
      env={'minigrid': {'obs': 'symbolic', 'size': [64, 64]}})


def no_fallback(config, index, **overrides):
  raise AssertionError('MiniGrid tasks must not reach the fallback.')


class Toy(embodied.Env):
  """Two numbers and three actions, or whatever action space is given."""

  def __init__(self, action=None):
    self.action = action or elements.Space(np.int32, (), 0, 3)

  @property
  def obs_space(self):
    return {
        'place': elements.Space(np.float32, (2,)),
        'reward': elements.Space(np.float32),
        'is_first': elements.Space(bool),
        'is_last': elements.Space(bool),
        'is_terminal': elements.Space(bool)}

  @property
  def act_space(self):
    return {'action': self.action, 'reset': elements.Space(bool)}

  def step(self, action):
    return {
        'place': np.array([0.5, 2], np.float32), 'reward': np.float32(0),
        'is_first': bool(action['reset']), 'is_last': False,
        'is_terminal': False}


class TestSpaces:

  @pytest.mark.parametrize('task', TASKS)
  def test_observations_are_in_their_space(self, task):
    env = MiniGrid(task, text_bytes=2048)
    for obs in walk(env, 60):
      assert obs.keys() == env.obs_space.keys()
      for key, value in obs.items():
        assert value in env.obs_space[key], (key, value)

  @pytest.mark.parametrize('task', TASKS)
  def test_nothing_warns(self, task):
    with warnings.catch_warnings():
      warnings.simplefilter('error')
      env = MiniGrid(task, text_bytes=2048)
      walk(env, 5)
      env.close()

  def test_upstream_wrappers_accept_it(self):
    env = MiniGrid('DoorKey-5x5', text_bytes=2048)
    env = embodied.wrappers.CheckSpaces(embodied.wrappers.UnifyDtypes(env))
    walk(env, 10)

  def test_image_is_the_view_alone(self):
    env = MiniGrid('DoorKey-5x5', obs='image')
    obs = act(env, reset=True)
    assert obs['image'].shape == (64, 64, 3)
    assert obs['image'].dtype == np.uint8
    assert 'grid' not in obs
    # The full grid has a goal that a locked door hides: no green here.
    green = (obs['image'] == [0, 255, 0]).all(-1)
    assert not green.any()

  def test_image_sizes(self):
    env = MiniGrid('DoorKey-5x5', obs='image', size=(32, 48))
    assert act(env, reset=True)['image'].shape == (32, 48, 3)

  def test_view(self):
    env = MiniGrid('DoorKey-8x8', view=5, text_bytes=2048)
    obs = act(env, reset=True)
    assert obs['grid'].shape == (75,)

  def test_mission_only_where_it_varies(self):
    assert 'mission' not in MiniGrid('DoorKey-5x5').obs_space
    assert 'mission' in MiniGrid('Fetch-5x5-N2').obs_space
    assert 'mission' in MiniGrid('BabyAI-GoToRedBall-v0').obs_space

  def test_words_only_when_asked(self):
    assert 'lore/state' not in MiniGrid('DoorKey-5x5').obs_space
    obs = act(MiniGrid('DoorKey-5x5', text_bytes=999), reset=True)
    assert obs['lore/state'].shape == (999,)

  def test_actions_are_minigrids(self):
    space = MiniGrid('DoorKey-5x5').act_space['action']
    assert (space.dtype, space.shape, space.classes) == (np.int32, (), 7)


class TestEncodings:

  image = np.zeros((3, 3, 3), np.uint8)
  image[1, 2] = (5, 4, 0)  # A yellow key in the hand.
  image[1, 1] = (4, 4, 2)  # A locked yellow door in front.

  sizes = (11, 6, 3)

  def test_numbers_stay_classes(self):
    out = minigrid.encode_view(self.image, self.sizes)
    assert out.tolist() == [0] * 12 + [4, 4, 2, 5, 4, 0] + [0] * 9

  def test_a_number_that_no_table_names(self):
    out = minigrid.encode_view(np.full((1, 1, 3), 255, np.uint8), self.sizes)
    assert out.tolist() == [10, 10, 10]

  def test_missions(self):
    one = minigrid.encode_mission('go to the red ball')
    assert one.sum() == 9  # Five words and four pairs.
    assert (one != minigrid.encode_mission('go to the blue ball')).any()
    assert (one == minigrid.encode_mission('Go to the red ball')).all()


class TestSeeds:

  def test_same_seed_same_episodes(self):
    make = lambda: MiniGrid('DoorKey-6x6', seed=7, text_bytes=2048)
    assert same(walk(make(), 800), walk(make(), 800))

  @pytest.mark.parametrize('other', [
      {'seed': 8}, {'index': 1}, {'heldout': True}])
  def test_each_part_matters(self, other):
    one = MiniGrid('DoorKey-6x6', seed=7)
    two = MiniGrid('DoorKey-6x6', **{'seed': 7, **other})
    firsts = [
        [act(env, reset=True)['grid'].tolist() for _ in range(20)]
        for env in (one, two)]
    assert firsts[0] != firsts[1]

  def test_heldout_never_meets_training(self):
    draw = lambda *args: {
        x for x, _ in zip(seeds.episode_seeds(*args), range(2000))}
    train = set().union(*(draw(s, i, False) for s in range(3) for i in (0, 1)))
    heldout = set().union(*(draw(s, 0, True) for s in range(3)))
    assert not train & heldout
    assert all(x % 2 == 0 for x in train) and all(x % 2 for x in heldout)

  def test_seed_reaches_the_environment(self):
    env = envs.make(settings(), 2, no_fallback)
    twin = MiniGrid('DoorKey-5x5', seed=3, index=2, text_bytes=2048)
    assert same(walk(env, 100), walk(twin, 100))

  def test_global_random_state_is_left_alone(self):
    np.random.seed(0)
    before = np.random.get_state()[1].copy()
    walk(MiniGrid('BabyAI-GoToRedBall-v0'), 80)
    assert (np.random.get_state()[1] == before).all()


class TestEndings:

  def test_success_terminates(self):
    env = MiniGrid('DoorKey-5x5')
    obs = act(env, reset=True)
    _, distance = planner.optimal_actions(env)
    logs = {k: 0 for k in minigrid.LOGS}
    for step in range(1, distance + 1):
      assert not obs['is_last']
      obs = act(env, min(planner.optimal_actions(env)[0]))
      for key in logs:
        logs[key] += obs[f'log/{key}']
      assert obs['log/steps'] == step
    assert obs['is_last'] and obs['is_terminal']
    # MiniGrid's own reward, with its limit of 250 steps.
    assert obs['reward'] == pytest.approx(1 - 0.9 * distance / 250)
    assert logs['success'] == 1 and logs['door_opened'] == 1
    assert logs['key_taken'] == 1 and logs['invalid_action'] == 0

  def test_time_limit_does_not_terminate(self):
    env = MiniGrid('DoorKey-5x5')
    act(env, reset=True)
    steps = [act(env, LEFT) for _ in range(250)]
    assert not any(x['is_last'] for x in steps[:-1])
    assert steps[-1]['is_last'] and not steps[-1]['is_terminal']
    assert steps[-1]['reward'] == 0 and not steps[-1]['log/success']

  def test_success_on_the_last_step_terminates(self):
    env = MiniGrid('DoorKey-5x5')
    act(env, reset=True)
    while planner.optimal_actions(env)[1] > 1:
      act(env, min(planner.optimal_actions(env)[0]))
    env.env.unwrapped.step_count = 249
    obs = act(env, FORWARD)
    assert obs['is_last'] and obs['is_terminal'] and obs['log/success']

  def test_lava_terminates_without_success(self):
    env = MiniGrid('LavaGapS5')
    rng = np.random.default_rng(0)
    ends = []
    while len(ends) < 20:
      obs = act(env, rng.integers(3))
      ends += [obs] if obs['is_last'] else []
    dead = [x for x in ends if x['is_terminal'] and not x['log/success']]
    assert dead and all(x['reward'] == 0 for x in dead)

  def test_negative_reward_is_no_success(self):
    env = MiniGrid('Dynamic-Obstacles-5x5')
    act(env, reset=True)
    for _ in range(20):
      obs = act(env, FORWARD)
      if obs['is_last']:
        break
    assert obs['is_terminal'] and obs['reward'] == -1
    assert not obs['log/success']

  def test_resets_by_itself_after_the_end(self):
    env = MiniGrid('DoorKey-5x5')
    steps = [act(env, LEFT) for _ in range(252)]
    assert [i for i, x in enumerate(steps) if x['is_first']] == [0, 251]
    assert steps[251]['reward'] == 0 and steps[251]['log/steps'] == 0


def hand_made(carried=False, door=planner.LOCKED, agent=(1, 1, 0)):
  """DoorKey-5x5 with the door to the right of (1, 1) and the key at (1, 3).

      W W W W W
      W . D . W
      W . W . W
      W k W G W
      W W W W W
  """
  env = MiniGrid('DoorKey-5x5', text_bytes=2048)
  act(env, reset=True)
  walls = {(x, y) for x in range(5) for y in range(5)
           if x in (0, 4) or y in (0, 4) or x == 2} - {(2, 1)}
  cells = sorted([(x, 'wall') for x in walls] + [((3, 3), 'goal')])
  layout = planner.Layout(
      (5, 5), tuple(cells), (((2, 1), 'yellow'),), (('key', 'yellow'),),
      ('goal',))
  spot = None if carried else (1, 3)
  state = planner.State(agent, 0 if carried else -1, (spot,), (door,))
  env._raw = planner.restore(env, layout, state)
  env._words(None)
  return env


def events(obs):
  return Description.decode(obs['lore/state']).events


class TestCounters:

  @pytest.mark.parametrize('kwargs, action, invalid', [
      ({}, LEFT, 0), ({}, RIGHT, 0), ({}, DONE, 1),
      ({}, FORWARD, 1),  # The locked door.
      ({}, PICKUP, 1), ({}, DROP, 1),
      ({}, TOGGLE, 1),  # No key.
      ({'carried': True}, TOGGLE, 0), ({'carried': True}, DROP, 1),
      ({'carried': True, 'agent': (1, 1, 1)}, DROP, 0),
      ({'agent': (1, 2, 1)}, PICKUP, 0), ({'agent': (1, 2, 1)}, FORWARD, 1),
      ({'door': planner.OPEN}, FORWARD, 0),
      ({'door': planner.OPEN}, TOGGLE, 0)])
  def test_invalid_actions(self, kwargs, action, invalid):
    assert act(hand_made(**kwargs), action)['log/invalid_action'] == invalid

  def test_key_taken(self):
    obs = act(hand_made(agent=(1, 2, 1)), PICKUP)
    assert obs['log/key_taken'] == 1 and events(obs) == ('key taken',)

  def test_object_dropped(self):
    obs = act(hand_made(carried=True, agent=(1, 1, 1)), DROP)
    assert obs['log/key_taken'] == 0 and events(obs) == ('object dropped',)

  def test_door_opened_and_closed(self):
    env = hand_made(carried=True)
    obs = act(env, TOGGLE)
    assert obs['log/door_opened'] == 1 and events(obs) == ('door opened',)
    obs = act(env, TOGGLE)
    assert obs['log/door_opened'] == 0 and events(obs) == ()

  def test_room_entered(self):
    obs = act(hand_made(door=planner.OPEN), FORWARD)
    assert events(obs) == ('room entered',)

  def test_turning_towards_a_door_opens_nothing(self):
    obs = act(hand_made(door=planner.OPEN, agent=(1, 1, 1)), LEFT)
    assert obs['log/door_opened'] == 0 and events(obs) == ()

  def test_goal_reached_and_episode_start(self):
    env = hand_made(door=planner.OPEN, agent=(3, 2, 1))
    obs = act(env, FORWARD)
    assert events(obs) == ('goal reached',) and obs['log/success'] == 1
    assert events(act(env, LEFT)) == ('episode start',)

  def test_carried_key_stands_in_the_agents_cell(self):
    obs = act(hand_made(agent=(1, 2, 1)), PICKUP)
    assert obs['grid'].reshape(7, 7, 3)[3, 6].tolist() == [5, 4, 0]


class TestMake:

  def test_words_follow_enabled(self):
    assert 'lore/state' in envs.make(settings(), 0, no_fallback).obs_space
    env = envs.make(settings(enabled=False), 0, no_fallback)
    assert 'lore/state' not in env.obs_space

  def test_overrides_win(self):
    env = envs.make(settings(), 0, no_fallback, heldout=True, obs='image')
    assert 'image' in env.obs_space
    twin = MiniGrid(
        'DoorKey-5x5', obs='image', seed=3, heldout=True, text_bytes=2048)
    assert same(walk(env, 5), walk(twin, 5))

  def test_other_suites_go_to_the_fallback(self):
    calls = []
    def fallback(config, index, **overrides):
      calls.append((index, overrides))
      return Toy()
    config = settings('toy_task', enabled=False)
    assert type(envs.make(config, 4, fallback, heldout=1)) is Toy
    config = settings('toy_task', advisor={'mode': 'action'})
    env = envs.make(config, 5, fallback)
    assert calls == [(4, {'heldout': 1}), (5, {})]
    obs = act(env, 0, reset=True)
    words = Description.decode(obs['lore/state'])
    assert words.text == 'place is 0.5, 2.'
    assert words.actions == ('action 0', 'action 1', 'action 2')
    assert words.events == ('episode start',)
    assert obs['lore/state'] in env.obs_space['lore/state']

  @pytest.mark.parametrize('space', [
      elements.Space(np.float32, (2,), -1, 1),
      elements.Space(np.int32, (2,), 0, 3)])
  def test_other_actions_are_refused(self, space):
    with pytest.raises(errors.EnvError, match='single discrete action'):
      envs.make(settings('toy_x'), 0, lambda *_, **__: Toy(space))

  def test_other_actions_pass_without_lore(self):
    space = elements.Space(np.float32, (2,), -1, 1)
    config = settings('toy_x', enabled=False)
    assert envs.make(config, 0, lambda *_, **__: Toy(space))


PACKAGE = '''
import gymnasium
from minigrid.core import constants, world_object
from minigrid.envs import EmptyEnv

new = max(constants.OBJECT_TO_IDX.values()) + 1
constants.OBJECT_TO_IDX.setdefault('lever', new)
constants.IDX_TO_OBJECT[constants.OBJECT_TO_IDX['lever']] = 'lever'


class Lever(world_object.Ball):

  def __init__(self):
    super().__init__('red')
    self.type = 'lever'


class Levers(EmptyEnv):

  def _gen_grid(self, width, height):
    super()._gen_grid(width, height)
    self.put_obj(Lever(), 2, 1)

  def step(self, action):
    obs, reward, terminated, truncated, info = super().step(action)
    return obs, reward, terminated, truncated, {'success': action == 6}


gymnasium.register('Levers-v0', entry_point=Levers)
'''


@pytest.fixture
def package(tmp_path, monkeypatch):
  """A user's package with an environment and an object type of its own."""
  import gymnasium
  from minigrid.core import constants
  (tmp_path / 'my_levers.py').write_text(PACKAGE)
  monkeypatch.syspath_prepend(str(tmp_path))
  yield 'my_levers:Levers-v0'
  sys.modules.pop('my_levers', None)
  gymnasium.registry.pop('Levers-v0', None)
  constants.IDX_TO_OBJECT.pop(
      constants.OBJECT_TO_IDX.pop('lever', None), None)


class TestOtherPackages:

  def test_gymnasiums_form_of_an_import(self, package):
    env = envs.make(settings(f'minigrid_{package}'), 0, no_fallback)
    assert env.obs_space['grid'].high.max() == 12
    for obs in walk(env, 50):
      assert obs['grid'] in env.obs_space['grid']
      assert Description.decode(obs['lore/state']).text
    assert act(env, reset=True)['grid'].max() == 11

  def test_success_is_what_the_task_says(self, package):
    env = MiniGrid(package)
    act(env, reset=True)
    assert not act(env, LEFT)['log/success']
    assert act(env, DONE)['log/success']

  def test_a_module_that_is_not_there(self):
    with pytest.raises(errors.EnvError, match="module 'my_nothing'.*PYTHON"):
      MiniGrid('my_nothing:Levers-v0')

  def test_an_id_that_its_module_lacks(self, package):
    name = package.replace('Levers-v0', 'Lever-v0')
    with pytest.raises(errors.EnvError, match='Close to it: Levers-v0'):
      MiniGrid(name)


class TestBadInput:

  @pytest.mark.parametrize('error', [
      FileNotFoundError(2, 'No such file', 'maze.png'),
      ImportError('WFC dependencies are missing')])
  def test_a_task_that_lacks_its_files(self, monkeypatch, error):
    from minigrid.envs import EmptyEnv
    def reset(self, **kwargs):
      raise error
    monkeypatch.setattr(EmptyEnv, 'reset', reset)
    with pytest.raises(errors.EnvError, match='Install that, or choose'):
      MiniGrid('Empty-5x5')

  def test_unknown_task_names_close_ones(self):
    with pytest.raises(errors.EnvError, match='DoorKey-5x5'):
      MiniGrid('DorKey-5x5')

  def test_unlike_anything(self):
    with pytest.raises(errors.EnvError, match='Close to it: none'):
      MiniGrid('@@@@')

  def test_not_a_minigrid_task(self):
    with pytest.raises(errors.EnvError, match='no MiniGrid task'):
      MiniGrid('CartPole-v1')

  @pytest.mark.parametrize('kwargs, match', [
      ({'obs': 'pixels'}, 'symbolic, image'),
      ({'view': 4}, 'odd'), ({'view': 1}, 'at least 3'),
      ({'seed': -1}, 'negative'), ({'index': -1}, 'negative'),
      ({'obs': 'image', 'size': (4, 64)}, 'cannot show'),
  ])
  def test_arguments(self, kwargs, match):
    with pytest.raises(errors.EnvError, match=match):
      MiniGrid('DoorKey-5x5', **kwargs)

  @pytest.mark.parametrize('error, match', [
      (KeyError('toy'), 'No suite is called'),
      (ModuleNotFoundError('x', name='embodied.envs.toy'), 'a checkout'),
      (ModuleNotFoundError('No gym', name='gym'), 'No gym.*DoorKey-5x5'),
      (ModuleNotFoundError('No ale_py', name='ale_py'), 'pip install ale-py'),
      (ImportError('libX'), 'libX.*--task minigrid_DoorKey-5x5'),
  ])
  def test_upstream_lacks_it(self, error, match):
    def fallback(*args, **kwargs):
      raise error
    with pytest.raises(errors.EnvError, match=match):
      envs.make(settings('toy_x'), 0, fallback)

  def test_other_errors_pass(self):
    def fallback(*args, **kwargs):
      raise KeyError('else')
    with pytest.raises(KeyError, match='else'):
      envs.make(settings('toy_x'), 0, fallback)

  def test_what_upstream_stumbles_over(self):
    def fallback(*args, **kwargs):
      raise TypeError('setInt(): wrong\narguments')
    words = 'TypeError: setInt.*: wrong arguments .*test_envs.py, line'
    with pytest.raises(errors.EnvError, match=words):
      envs.make(settings('toy_x'), 0, fallback)
    # Without advice a run is upstream's, errors and all.
    with pytest.raises(TypeError):
      envs.make(settings('toy_x', enabled=False), 0, fallback)

  def test_pictures_alone_are_no_words(self):
    toy = Toy()
    space = dict(toy.obs_space, image=elements.Space(np.uint8, (64, 64, 3)))
    del space['place']
    pictures = types.SimpleNamespace(obs_space=space, act_space=toy.act_space)
    for mode in ('subgoal', 'action'):
      config = settings('toy_x', advisor={'mode': mode})
      with pytest.raises(errors.EnvError, match='no model could be asked'):
        envs.make(config, 0, lambda *_, **__: pictures)
    config = settings('toy_x', enabled=False)
    assert envs.make(config, 0, lambda *_, **__: pictures) is pictures

  def test_too_many_numbers_are_no_words(self):
    toy = Toy()
    space = dict(toy.obs_space, place=elements.Space(np.uint8, (128,)))
    ram = types.SimpleNamespace(obs_space=space, act_space=toy.act_space)
    config = settings('toy_x', advisor={'mode': 'action'})
    with pytest.raises(errors.EnvError, match='too many numbers.*place 128'):
      envs.make(config, 0, lambda *_, **__: ram)

  def test_numbers_have_no_subgoals(self):
    with pytest.raises(errors.EnvError, match='advisor.mode action'):
      envs.make(settings('toy_x'), 0, lambda *_, **__: Toy())

  @pytest.mark.parametrize('task', ['minigrid', 'minigrid_', 'DoorKey-5x5'])
  def test_task_without_suite(self, task):
    with pytest.raises(errors.EnvError, match='--task minigrid_DoorKey'):
      envs.make(settings(task), 0, no_fallback)

  def test_unknown_world(self):
    with pytest.raises(errors.ConfigError, match='auto, crafter, generic'):
      envs.make(settings(world='minigird'), 0, no_fallback)
    # An advisor that is off needs no world.
    config = settings(world='minigird', enabled=False)
    assert envs.make(config, 0, no_fallback)

  def test_world_of_another_family(self):
    config = settings('toy_x', world='minigrid')
    with pytest.raises(errors.ConfigError, match='world auto'):
      envs.make(config, 0, lambda *_, **__: Toy())

  def test_too_little_room_for_words(self):
    with pytest.raises(errors.EnvError, match='lore.text_bytes 512'):
      MiniGrid('DoorKey-5x5', text_bytes=64)

  def test_action_space_that_is_not_discrete(self, monkeypatch):
    import gymnasium
    inner = tasks.make_gym('DoorKey-5x5').unwrapped
    box = gymnasium.spaces.Box(-1, 1, (2,))
    wrapped = types.SimpleNamespace(unwrapped=inner, action_space=box)
    monkeypatch.setattr(gymnasium, 'make', lambda *_, **__: wrapped)
    with pytest.raises(errors.EnvError, match='single discrete action'):
      MiniGrid('DoorKey-5x5')
