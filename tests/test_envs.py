"""MiniGrid's environments: spaces, seeds, endings and counters."""

import warnings

import embodied
import numpy as np
import pytest
from playing import act, no_fallback, same, settings, walk

from lore_plugin import worlds as envs
from lore_plugin.advisor.types import Description
from lore_plugin.worlds import seeds
from lore_plugin.worlds.minigrid import env as minigrid
from lore_plugin.worlds.minigrid.env import MiniGrid
from lore_plugin.play import planner

LEFT, RIGHT, FORWARD, PICKUP, DROP, TOGGLE, DONE = range(7)
TASKS = (
    'DoorKey-5x5', 'MultiRoom-N2-S4', 'KeyCorridorS3R1', 'Unlock',
    'UnlockPickup', 'LavaGapS5', 'Fetch-5x5-N2', 'BabyAI-GoToRedBall-v0',
    'Dynamic-Obstacles-5x5')


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
