"""What a program can call: names, an advisor alone, words for any task."""

import contextlib
import pathlib
import re
import runpy
import subprocess
import sys
import types

import gymnasium
import minigrid  # noqa: F401  (registers its tasks)
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils import env_checker

import lore_plugin
from lore_plugin import api
from lore_plugin import errors
from lore_plugin.worlds import outward
from lore_plugin.worlds.minigrid import env as minigridlib

ROOT = pathlib.Path(__file__).parent.parent
EXAMPLES = ROOT / 'examples'
DOORKEY = 'MiniGrid-DoorKey-5x5-v0'
ASKED = lore_plugin.Question(
    'open the door', 'You carry nothing. You see a locked door.',
    ('open the door', 'take the key', 'explore'))


@pytest.fixture
def examples(monkeypatch):
  """Puts the folder of examples where a user's modules are."""
  monkeypatch.syspath_prepend(str(EXAMPLES))
  yield
  for name in ('garden', 'taxi'):
    sys.modules.pop(name, None)
  gymnasium.registry.pop('Garden-v0', None)


@pytest.mark.process
def test_importing_it_imports_nothing():
  code = (
      'import sys, lore_plugin\n'
      'from lore_plugin import Advisor, Agent, LoreError, load, train\n'
      'print([x for x in ("jax", "numpy", "elements", "gymnasium", '
      '"dreamerv3") if x in sys.modules])')
  out = subprocess.run(
      [sys.executable, '-c', code], capture_output=True, text=True,
      check=True)
  assert out.stdout == '[]\n'


def test_public_names():
  page = (ROOT / 'docs' / 'api.md').read_text(encoding='utf-8')
  stub = (ROOT / 'lore_plugin' / '__init__.pyi').read_text(encoding='utf-8')
  for name in lore_plugin.__all__:
    assert getattr(lore_plugin, name).__doc__, name
    assert name in dir(lore_plugin)
    assert f'`{name}' in page or f'lore_plugin.{name}' in page, name
  assert re.findall(r' as (\w+)$', stub, re.M).sort() == (
      list(lore_plugin.__all__).sort())
  with pytest.raises(AttributeError, match='no attribute'):
    lore_plugin.advise  # noqa: B018


def test_an_advisor_alone(tmp_path):
  with lore_plugin.Advisor('mock', store=tmp_path) as advisor:
    first = advisor.ask(ASKED)
    again = advisor.ask(ASKED)
    assert advisor.spent()['calls'] == 1
  assert first.choice == 'open the door' and first.fresh and not again.fresh
  assert first.source == 'mock (mock)' and not first.actions
  assert list(first.probs) == list(ASKED.choices)
  assert sum(first.probs.values()) == pytest.approx(1)
  # Another one finds it in the file, even if it may not ask.
  with lore_plugin.Advisor(
      'mock', store=tmp_path, calls=0, account='other') as other:
    found = other.ask(ASKED)
    assert found.probs == first.probs and not found.fresh
    with pytest.raises(errors.RefusedCall, match='Give Advisor.calls=N'):
      other.ask(lore_plugin.Question('', 'x', ('a', 'b')))


def test_what_cannot_be_begun_is_not_chosen():
  skills = ((), (0, 2), (1, 2))
  with lore_plugin.Advisor('scripted') as advisor:
    answer = advisor.ask(lore_plugin.Situation(ASKED, skills))
    assert answer.probs.keys() == {'take the key', 'explore'}
    key = answer.probs['take the key']
    assert answer.actions == pytest.approx(
        {0: key / 2, 1: (1 - key) / 2, 2: 0.5})
    # One choice is no question, and none is a mistake.
    one = advisor.ask(lore_plugin.Question('', 'x', ('only this',)))
    assert one.choice == 'only this' and not one.source
    assert advisor.spent()['calls'] == 1
    with pytest.raises(errors.EnvError, match='nothing to choose from'):
      advisor.ask(lore_plugin.Question('', 'x'))
    with pytest.raises(errors.ConfigError, match='not \'key\''):
      advisor.ask('key')


def test_actions_are_asked_for_by_their_words():
  env = lore_plugin.wrap(gymnasium.make(DOORKEY))
  _, info = env.reset(seed=0)
  with lore_plugin.Advisor(
      'scripted', world=env.world, mode='action') as advisor:
    answer = advisor.ask(info['situation'])
  assert answer.choice in env.world.actions
  assert sum(answer.actions.values()) == pytest.approx(1)
  assert 6 not in answer.actions  # Nothing is ever advised to be 'done'.


@pytest.mark.parametrize('kwargs, words', [
    ({'provider': 'antropic'}, 'Unknown advisor'),
    ({'call': 3}, "Unknown key of lore.advisor: 'call'"),
    ({'calls': '3'}, "calls is '3', but must be like its default 98"),
    ({'calls': -2}, 'at least -1'),
    ({'price': {'inptu': 1.0}}, 'price.inptu'),
])
def test_wrong_keys_say_what_is_allowed(kwargs, words):
  with pytest.raises(errors.ConfigError, match=words):
    lore_plugin.Advisor(**{'provider': 'scripted', **kwargs})


def test_a_call_that_fails_is_an_error(tmp_path):
  store = tmp_path / 'a.sqlite'
  with lore_plugin.Advisor('mock', store=store, calls=9) as advisor:
    advisor.ask(ASKED)
  with lore_plugin.Advisor(
      'mock', store=store, replay='lenient') as advisor:
    assert advisor.ask(ASKED).source == 'mock (mock)'
    with pytest.raises(errors.ReplayError):
      advisor.ask(lore_plugin.Question('', 'x', ('a', 'b')))


def test_words_change_nothing_else():
  plain, worded = gymnasium.make(DOORKEY), lore_plugin.wrap(
      gymnasium.make(DOORKEY), 'minigrid')
  one, _ = plain.reset(seed=3)
  two, info = worded.reset(seed=3)
  for action in (2, 1, 2, 0, 3):
    assert one.keys() == two.keys()
    np.testing.assert_array_equal(one['image'], two['image'])
    assert info['situation'] == worded.situation
    one, *rest, _ = plain.step(action)
    two, *also, info = worded.step(action)
    assert rest == also
  assert worded.situation.question.choices


class Numbers(gymnasium.Env):
  """Actions begin at 1; what is observed is a Dict."""

  observation_space = spaces.Dict(
      a=spaces.Discrete(3, start=2), b=spaces.Box(-1, 1, (2,)))
  action_space = spaces.Discrete(2, start=1)

  def reset(self, *, seed=None, options=None):
    super().reset(seed=seed)
    self.acts = []
    return {'a': 4, 'b': np.zeros(2, np.float32)}, {}

  def step(self, action):
    self.acts.append(action)
    return {'a': 2, 'b': np.ones(2, np.float32)}, 1.0, False, True, {}


class Told(lore_plugin.World):
  version, actions = 'told-1', ('left', 'right')

  def reset(self):
    self.seen = []

  def observe(self, obs, action=None):
    self.seen.append((obs, action))
    return lore_plugin.Situation(
        lore_plugin.Question('', f'a is {obs["a"]}.', self.actions),
        ((0,), (1,)))


def test_a_world_is_shown_what_it_is_shown_in_training():
  env = lore_plugin.wrap(Numbers(), Told)
  env.reset()
  env.step(2)
  (first, none), (last, action) = env.world.seen
  assert none is None and action == 1 and env.unwrapped.acts == [2]
  assert first['a'] == 2 and first['is_first'] and not first['is_last']
  assert last['a'] == 0 and last['reward'] == 1 and last['is_last']
  assert not last['is_terminal'] and last['b'].dtype == np.float32
  env.check(steps=5)
  auto = lore_plugin.wrap(Numbers())
  assert auto.reset()[1]['situation'].question.facts == 'a is 2. b is 0, 0.'


def test_what_cannot_be_wrapped_is_said():
  with pytest.raises(errors.EnvError, match='single discrete action'):
    lore_plugin.wrap(gymnasium.make('Pendulum-v1'))
  from minigrid.wrappers import ImgObsWrapper
  with pytest.raises(errors.EnvError, match='shows no image.*before other'):
    lore_plugin.wrap(ImgObsWrapper(gymnasium.make(DOORKEY)))
  with pytest.raises(errors.ConfigError, match='Unknown world'):
    lore_plugin.wrap(gymnasium.make(DOORKEY), 'mingrid')


@pytest.mark.filterwarnings('ignore:.*Box observation space.*')
def test_a_task_of_ours_in_gymnasiums_interface():
  made = []
  def make(seed):
    made.append(seed)
    return minigridlib.MiniGrid('DoorKey-5x5', seed=seed, text_bytes=2048)
  env = outward.Episodes(make, 4)
  obs, info = env.reset()
  assert obs in env.observation_space and obs['is_first']
  assert info.keys() == set(minigridlib.LOGS) and env.action_space.n == 7
  assert env.observation_space['lore/state'].dtype == np.uint8
  again, _ = env.reset(seed=4)
  np.testing.assert_array_equal(obs['grid'], again['grid'])
  assert made == [4, 4]
  env_checker.check_env(env, skip_render_check=True)


def test_training_is_what_the_program_does(tmp_path, monkeypatch):
  from lore_plugin import launch
  said = []
  def run(argv):
    said.append(argv)
    (tmp_path / 'run' / 'summary.json').write_text('{"steps": 10}')
  (tmp_path / 'run').mkdir()
  monkeypatch.setattr(launch, 'run', run)
  done = lore_plugin.train(
      'minigrid_DoorKey-5x5', logdir=tmp_path / 'run', run={'steps': 10},
      **{'lore.trust.enabled': False})
  assert done == (tmp_path / 'run', {'steps': 10})
  assert said == [[
      '--configs', 'minigrid', 'lore', '--task', 'minigrid_DoorKey-5x5',
      '--logdir', str(tmp_path / 'run'), '--run.steps', '10',
      '--lore.trust.enabled', 'False']]
  with pytest.raises(errors.ConfigError, match='placeholder'):
    lore_plugin.train('minigrid_DoorKey-5x5', logdir='{time}')


def test_what_cannot_be_loaded_is_said(tmp_path):
  with pytest.raises(errors.ConfigError, match='there is no such folder'):
    lore_plugin.load(tmp_path / 'nowhere')


class Still:
  """A policy that always turns left, as an advised agent tells of it."""

  advise_eval = False

  def init_policy(self, batch_size):
    return 0

  def policy(self, carry, obs, mode):
    self.obs, self.mode = obs, mode
    return carry + 1, {'action': np.zeros(1, np.int32)}, {
        'log/record_wm': np.zeros((1, 7)), 'lore/valid': np.ones(1, bool),
        'log/lore_beta': np.array([0.5]), 'stepid': np.zeros((1, 20))}


def trained(closed, advised=True):
  """Returns an agent around `Still`, as `load` makes it."""
  def make(seed, index, heldout):
    return minigridlib.MiniGrid(
        'DoorKey-5x5', seed=seed, index=index, heldout=bool(heldout),
        text_bytes=2048)
  stack = contextlib.ExitStack()
  stack.callback(closed.append, True)
  return api.Agent(
      Still(), types.SimpleNamespace(seed=3), make, stack, advised=advised,
      advice=False, mode='eval')


def test_an_agent_acts():
  closed = []
  with trained(closed) as agent:
    env = agent.make_env()
    obs, _ = env.reset()
    action, carry, info = agent.act(obs)
    assert action == 0 and carry == 1 and agent._agent.mode == 'eval'
    assert info.keys() == {'advised', 'logits', 'beta'}
    assert info['advised'] is True and info['beta'] == 0.5
    assert agent._agent.obs.keys() == agent.obs_space.keys()
    assert agent._agent.obs['grid'].shape == (1, 147)
    assert agent._agent.obs['is_first'].tolist() == [True]
    obs, *_ = env.step(action)
    _, carry, _ = agent.act(obs, carry)
    assert carry == 2 and not agent._agent.obs['is_first'][0]
    # A user's own observation: what only training needs may be left out.
    agent.act({'grid': obs['grid'], 'direction': 1}, carry)
    assert agent._agent.obs['lore/state'].shape == (1, 2048)
  assert closed == [True]


def test_what_an_agent_cannot_take_is_said():
  agent = trained([], advised=False)
  with pytest.raises(errors.ConfigError, match="lacks 'grid'"):
    agent.act({'direction': 1})
  with pytest.raises(errors.ConfigError, match=r"'grid' has shape \(3,\)"):
    agent.act({'grid': [1, 2, 3], 'direction': 1})
  with pytest.raises(errors.ConfigError, match='loaded without advice'):
    agent.advice = True
  advised = trained([])
  advised.advice = True
  assert advised._agent.advise_eval
  with pytest.raises(errors.ConfigError, match="lacks 'lore/state'"):
    advised.act({'grid': np.zeros(147), 'direction': 1})


def test_flags_of_nested_keys():
  assert api.flags({
      'run': {'steps': 10, 'envs': 2}, 'lore.gate.kappa': 2.0,
      'logger': {'outputs': ['jsonl', 'scope']}}) == [
          '--run.steps', '10', '--run.envs', '2', '--lore.gate.kappa', '2.0',
          '--logger.outputs', 'jsonl', 'scope']


@pytest.mark.parametrize('name, world, most', [
    ('Taxi-v4', 'taxi:TaxiWorld', 5), ('Garden-v0', 'garden:GardenWorld', 2)])
def test_worlds_of_the_examples(examples, name, world, most):
  if name == 'Garden-v0':
    __import__('garden')
  env = lore_plugin.wrap(gymnasium.make(name), world)
  paths = env.check()
  assert len({x.question for path in paths for x in path}) <= most
  # Whoever follows the first choice gets there: one of them is right.
  _, info = env.reset(seed=1)
  over, total = False, 0
  while not over:
    situation = info['situation']
    first = [x for x in situation.question.choices if 'destination' not in x
             or len(situation.skills) == 1 or 'pick' in x]
    skill = situation.skills[situation.question.choices.index(
        first[-1])]
    _, reward, ended, cut, info = env.step(skill[0])
    over, total = ended or cut, total + reward
  assert ended and total > 0


def test_the_page_shows_the_examples():
  page = (ROOT / 'docs' / 'own-environment.md').read_text(encoding='utf-8')
  blocks = re.findall(r'^```python\n(.*?)^```', page, re.M | re.S)
  for name in ('taxi.py', 'garden.py'):
    assert (EXAMPLES / name).read_text(encoding='utf-8') in blocks, name
  # What a user writes beside the environment: the world.
  world = (EXAMPLES / 'garden.py').read_text(encoding='utf-8')
  lines = world[world.index('class GardenWorld'):].splitlines()
  assert sum(x.strip() != '' for x in lines) <= 40


@pytest.mark.parametrize('name, count', [
    ('own-environment.md', 1), ('api.md', 3)])
def test_blocks_of_the_pages_run(examples, name, count):
  """All but those that train, and the examples' own text."""
  page = (ROOT / 'docs' / name).read_text(encoding='utf-8')
  blocks = [
      x for x in re.findall(r'^```python\n(.*?)^```', page, re.M | re.S)
      if not x.startswith('"""') and 'train(' not in x]
  assert len(blocks) == count
  for block in blocks:
    # Which needs no model, and not a second of time.
    exec(block.replace("'local'", "'scripted'"), {})


def test_an_agent_of_another_kind(examples, capsys, monkeypatch):
  monkeypatch.setattr(sys, 'argv', ['tabular.py', 'scripted', '5'])
  runpy.run_path(str(EXAMPLES / 'tabular.py'), run_name='__main__')
  out = capsys.readouterr().out.splitlines()
  assert [x.split()[0] for x in out] == ['alone', 'advised', 'spent:']
  assert "'calls': 1" in out[-1]


def test_asking_without_an_agent(capsys, monkeypatch):
  monkeypatch.setattr(sys, 'argv', ['ask.py', 'scripted'])
  runpy.run_path(str(EXAMPLES / 'ask.py'), run_name='__main__')
  assert "'calls': 2" in capsys.readouterr().out


def test_every_example_is_tried():
  tried = pathlib.Path(__file__).read_text(encoding='utf-8')
  for path in EXAMPLES.glob('*.py'):
    assert f'{path.stem}.py' in tried, path


@pytest.mark.slow
@pytest.mark.long
def test_the_notebook_runs(pytestconfig, monkeypatch):
  """docs/quickstart.ipynb, from an environment to an agent that acts."""
  monkeypatch.setenv(
      'JAX_COMPILATION_CACHE_DIR', str(pytestconfig.cache.mkdir('jax')))
  monkeypatch.setenv('JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS', '0')
  monkeypatch.setenv('PYTHONPATH', str(ROOT))
  import nbclient
  import nbformat
  path = ROOT / 'docs' / 'quickstart.ipynb'
  book = nbformat.read(path, 4)
  assert not any(x.get('outputs') for x in book.cells), 'keep it empty'
  nbclient.NotebookClient(
      book, timeout=600, resources={'metadata': {'path': path.parent}},
  ).execute()
  said = [
      ''.join(y.get('text') or y['data']['text/plain'] for y in x.outputs)
      for x in book.cells if x.cell_type == 'code']
  assert 'fill the can' in said[1] and 'water the flower' in said[2]
  assert 'Advisor: local' in said[3] and re.search(r'^\d\.0 calls$', said[3],
                                                   re.M)
  assert re.findall(r'^(alone|advised) \d', said[4], re.M) == [
      'alone', 'advised']
