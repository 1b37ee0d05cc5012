"""How an environment is made, of whose package, and what is refused."""

import sys
import types

import elements
import numpy as np
import pytest
from playing import Toy, act, no_fallback, same, settings, walk

from lore_plugin import worlds as envs, errors
from lore_plugin.advisor.types import Description
from lore_plugin.worlds.base import Question, Situation, World
from lore_plugin.worlds.minigrid import tasks
from lore_plugin.worlds.minigrid.env import MiniGrid

LEFT, *_, DONE = range(7)


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

  @pytest.mark.parametrize('result, match', [
      (ValueError('out of paint'), "environment.*step 2 of.*out of paint"),
      ((None, float('nan'), False, False, {}), 'step 2 of.*reward nan'),
      ((None, float('-inf'), True, False, {}), 'step 2 of.*reward -inf')])
  def test_what_fails_in_an_episode_is_said(self, monkeypatch, result, match):
    env = MiniGrid('Empty-5x5', text_bytes=2048)
    act(env, reset=True)
    act(env, 0)
    def step(action):
      if isinstance(result, Exception):
        raise result
      return result
    monkeypatch.setattr(env.env, 'step', step)
    with pytest.raises(errors.EnvError, match=match):
      act(env, 0)

  def test_a_world_that_fails_in_an_episode_is_named(self):
    class Broken(World):
      version = 'mine-1'
      actions = ('',) * 7
      def reset(self):
        pass
      def observe(self, obs, action=None):
        if action == 0:
          raise KeyError('door')
        return Situation(Question('go', 'You see.'))
    env = MiniGrid('Empty-5x5', text_bytes=512, world=Broken)
    act(env, reset=True)
    with pytest.raises(
        errors.EnvError, match="world mine-1 failed in step 1 of .*'door'"):
      act(env, 0)

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
    words = 'TypeError: setInt.*: wrong arguments .*test_envs_made.py, line'
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
