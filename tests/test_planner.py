"""The planner: its model is MiniGrid's, and its way is the shortest."""

import numpy as np
import pytest

from lore_plugin import errors
from lore_plugin.worlds.minigrid.env import MiniGrid
from lore_plugin.play import planner


@pytest.fixture(scope='module')
def cases():
  return planner.enumerate_states('DoorKey-5x5')


def start(task, seed=0):
  env = MiniGrid(task, seed=seed)
  env.step({'action': 0, 'reset': True})
  return env


class TestModel:

  def test_agrees_with_minigrid_everywhere(self, cases):
    # Every action in every state of DoorKey-5x5.
    env = start('DoorKey-5x5')
    for case in cases:
      for action in planner.ACTIONS:
        planner.restore(env, case.layout, case.state)
        obs = env.step({'action': action, 'reset': False})
        after, ends = planner.advance(case.layout, case.state, action)
        assert obs['is_terminal'] == ends == bool(obs['log/success'])
        assert planner.read(env) == (case.layout, after)
        if ends:
          env.step({'action': 0, 'reset': True})

  @pytest.mark.parametrize('task', [
      'Unlock', 'UnlockPickup', 'KeyCorridorS3R1', 'LavaGapS5',
      'BlockedUnlockPickup', 'MultiRoom-N2-S4', 'Empty-Random-5x5',
      'FourRooms'])
  def test_agrees_with_minigrid_on_walks(self, task):
    env = start(task)
    rng = np.random.default_rng(0)
    for _ in range(300):
      layout, state = planner.read(env)
      action = rng.integers(6)
      obs = env.step({'action': action, 'reset': False})
      after, ends = planner.advance(layout, state, action)
      assert ends == bool(obs['log/success'])
      if obs['is_last']:
        assert obs['is_terminal'] == (ends or after is None) or (
            obs['log/steps'] == env.env.unwrapped.max_steps)
        env.step({'action': 0, 'reset': True})
        continue
      opened = action == planner.TOGGLE and after.spots != state.spots
      if opened:  # MiniGrid forgets a box that was opened.
        env.step({'action': 0, 'reset': True})
        continue
      assert planner.read(env) == (layout, after)

  def test_restore_and_read_are_inverse(self, cases):
    env = start('DoorKey-5x5')
    for case in cases[::7]:
      planner.restore(env, case.layout, case.state)
      assert planner.read(env) == (case.layout, case.state)


class TestPlan:

  def test_by_hand(self):
    #   W W W W W      The key is below, the door to the right: turn, take
    #   W > D . W      the key two steps down, come back, open, go through,
    #   W . W . W      and two steps down to the goal.
    #   W k W G W
    walls = {(x, y) for x in range(5) for y in range(5)
             if x in (0, 4) or y in (0, 4) or x == 2} - {(2, 1)}
    layout = planner.Layout(
        (5, 5), tuple(sorted([(x, 'wall') for x in walls]
                             + [((3, 3), 'goal')])),
        (((2, 1), 'yellow'),), (('key', 'yellow'),), ('goal',))
    state = planner.State((1, 1, 0), -1, ((1, 3),), (planner.LOCKED,))
    # right forward pickup left left forward right toggle (8), forward
    # forward right forward forward (5).
    assert planner.plan(layout, state) == ({planner.RIGHT}, 13)
    held = planner.State((1, 1, 0), 0, (None,), (planner.LOCKED,))
    assert planner.plan(layout, held) == ({planner.TOGGLE}, 6)
    # Turning about is as near by the left as by the right.
    away = planner.State((1, 1, 2), 0, (None,), (planner.LOCKED,))
    assert planner.plan(layout, away) == ({planner.LEFT, planner.RIGHT}, 8)
    # The key beyond a shut door.
    lost = planner.State((1, 1, 0), -1, ((3, 1),), (planner.LOCKED,))
    assert planner.plan(layout, lost) == (frozenset(), None)

  @pytest.mark.parametrize('task, episodes', [
      ('DoorKey-5x5', 10), ('DoorKey-6x6', 3), ('DoorKey-8x8', 1),
      ('Empty-5x5', 2), ('Unlock', 2), ('UnlockPickup', 1), ('LavaGapS5', 3),
      ('MultiRoom-N2-S4', 2), ('KeyCorridorS3R1', 2), ('FourRooms', 1)])
  def test_succeeds_in_as_many_steps_as_it_says(self, task, episodes):
    env = MiniGrid(task)
    rng = np.random.default_rng(0)
    for _ in range(episodes):
      obs = env.step({'action': 0, 'reset': True})
      _, distance = planner.optimal_actions(env)
      for left in range(distance, 0, -1):
        actions, steps = planner.optimal_actions(env)
        assert steps == left and not obs['is_last']
        action = rng.choice(sorted(actions))
        obs = env.step({'action': action, 'reset': False})
      assert obs['is_terminal'] and obs['log/success']

  def test_no_action_gains_more_than_one_step(self, cases):
    # With the agreement above this proves that distances are shortest.
    known = {(x.layout, x.state): x.distance for x in cases}
    for case in cases:
      nexts = {}
      for action in planner.ACTIONS:
        after, ends = planner.advance(case.layout, case.state, action)
        nexts[action] = 0 if ends else known[(case.layout, after)]
      best = min(nexts.values())
      assert case.distance == best + 1
      assert case.actions == {a for a, x in nexts.items() if x == best}


class TestEnumerate:

  def test_doorkey(self, cases):
    # Two places for the door. Left room: 3 cells; right room: 3; the door.
    assert len({x.layout for x in cases}) == 2
    assert len({(x.layout, x.state) for x in cases}) == len(cases)
    for layout in {x.layout for x in cases}:
      states = [x.state for x in cases if x.layout == layout]
      # Door locked or closed or open with the agent left, the key on one of
      # the two other cells, or carried on any of the three, or thrown over
      # the open door: counted by its parts.
      left = [x for x in states if x.agent[0] == 1]
      locked = [x for x in left if x.doors == (planner.LOCKED,)]
      assert len(locked) == 4 * (3 * 2 + 3)

  def test_every_start_is_there(self, cases):
    known = {(x.layout, x.state) for x in cases}
    env = MiniGrid('DoorKey-5x5', seed=5)
    starts = set()
    for _ in range(600):
      env.step({'action': 0, 'reset': True})
      starts.add(planner.read(env))
    assert starts <= known
    assert len(starts) == 2 * 3 * 2 * 4  # Doors, keys, cells, directions.

  def test_order_is_fixed(self, cases):
    assert planner.enumerate_states('DoorKey-5x5') == cases

  def test_command(self, capsys):
    planner.main(['Empty-5x5', '--seeds', '3'])
    # Nine cells but the goal, in four directions.
    assert 'states          32' in capsys.readouterr().out


class TestBadInput:

  def test_unknown_ending(self):
    with pytest.raises(errors.EnvError, match='does not know how'):
      planner.optimal_actions(start('Fetch-5x5-N2'))

  def test_hidden_objects(self):
    with pytest.raises(errors.EnvError, match='boxes'):
      planner.optimal_actions(start('ObstructedMaze-1Dlh'))
