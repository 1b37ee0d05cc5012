"""The world vision: the picture is the question, over real HTTP."""

import base64
import io
import json
import pathlib
import subprocess
import sys

import gymnasium
import numpy as np
import PIL.Image
import pytest
import servers
from lamps import Lights, TASK, look_and_answer

from lore_plugin import config as configlib
from lore_plugin import errors
from lore_plugin import worlds
from lore_plugin.advisor import build
from lore_plugin.advisor import pictures
from lore_plugin.advisor import prompts
from lore_plugin.advisor import types
from lore_plugin.play import judge
from lore_plugin.worlds import naming


ROOT = pathlib.Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def lights(monkeypatch):
  gymnasium.register('Lights-v0', Lights)
  for name in ('ANTHROPIC_API_KEY', 'OPENAI_API_KEY'):
    monkeypatch.setenv(name, 'sk-none-of-yours')
  yield
  gymnasium.registry.pop('Lights-v0', None)


def run(provider, behave, *argv):
  server = servers.start(behave)
  try:
    judge.main([
        TASK, '--advice', provider, '--episodes', '4', '--json',
        '--lore.world', 'vision', '--env.gymnasium.size', '24', '24',
        '--lore.advisor.url',
        server.url + ('/v1' if provider == 'openai' else ''), *argv])
  finally:
    server.shutdown()
    server.server_close()
  return server.seen


@pytest.mark.parametrize('provider', ['anthropic', 'openai'])
def test_a_model_that_sees_solves_it(provider, capsys):
  pytest.importorskip(provider)
  seen = run(provider, look_and_answer)
  result = json.loads(capsys.readouterr().out)
  assert result['success'] == 1.0 and result['failures'] == 0, result
  # The same picture is asked about once, whoever shows it.
  assert result['calls'] == result['questions'] == len(seen) == 3
  assert result['mode'] == 'action'


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize('provider', ['anthropic', 'openai'])
def test_a_model_that_sees_advises_training(provider, env, tmp_path):
  """The whole program: pixels, real HTTP, and advice that is learned."""
  pytest.importorskip(provider)
  logdir = tmp_path / 'run'
  program = ROOT / 'tests' / 'programs' / 'run_vision.py'
  result = subprocess.run(
      [sys.executable, program, provider, logdir],
      env=env, capture_output=True, text=True, timeout=600, check=False)
  assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-4000:]
  summary = json.loads((logdir / 'summary.json').read_text())
  # Each lamp once, by the pictures; what is known costs nothing.
  assert summary['advisor']['calls'] == summary['advisor']['answered'] == 3
  assert not summary['advisor']['failures']
  rows = [json.loads(x)
          for x in (logdir / 'metrics.jsonl').read_text().splitlines()]
  names = set().union(*rows)
  assert {'train/lore/prior_loss', 'epstats/log/lore_src_net/avg'} <= names
  advised = [x for x in rows if x.get('train/advisor/hits', 0) > 100]
  assert advised and summary['episodes'] > 20
  journal = [json.loads(x)
             for x in (logdir / 'episodes.jsonl').read_text().splitlines()]
  told = [x['score'] for x in journal if x['advised'] and not x['changed']]
  # Five buttons in a row; by chance it is one in 243.
  assert np.mean(told[3:]) > 0.3, told


@pytest.mark.parametrize('status, words', [
    (400, 'image_url is not supported by this model'),
    (404, 'No endpoints found that support image input'),
    (500, 'image input is not supported - hint: you may need the mmproj')])
def test_a_server_whose_model_is_blind(status, words, capsys):
  run('openai', lambda *args: (status, servers.error(words)))
  result = json.loads(capsys.readouterr().out)
  assert result['failures'] == result['calls'] > 0
  assert 'sees no pictures' in result['failure'], result


@pytest.mark.parametrize('advice', ['scripted', 'adversarial', 'shuffled'])
def test_who_is_blind_says_so_before_anything_runs(advice):
  with pytest.raises(errors.ConfigError, match=f'{advice}.*can\'t see'):
    judge.main([TASK, '--advice', advice, '--lore.world', 'vision'])


@pytest.mark.parametrize('model', ['gpt-3.5-turbo', 'gpt-4', 'o3-mini'])
def test_blind_models_of_one_that_sees(model, tmp_path):
  pytest.importorskip('openai')
  config = resolve(
      '--lore.advisor.provider', 'openai', '--lore.advisor.model', model,
      '--logdir', str(tmp_path))
  with pytest.raises(errors.ConfigError, match=f'{model}.*gpt-4.1-mini'):
    build.build(config, 3)


def resolve(*argv, world='vision'):
  return configlib.resolve(
      ['--configs', 'lore', '--task', TASK, '--lore.world', world, *argv],
      configlib.load())


def make(config):
  def fallback(*args, **kwargs):
    raise AssertionError(args)
  return worlds.make_as(True, config, 0, fallback)


def test_what_the_world_changes_in_the_defaults():
  changed = lambda *argv, **kw: (lambda x: (
      x.advisor.mode, x.prior.enabled))(resolve(*argv, **kw).lore)
  assert changed() == ('action', True)
  assert changed(world='auto') == ('subgoal', False)
  assert changed('--lore.prior.enabled', 'False') == ('action', False)
  assert changed('--lore.advisor.mode', 'subgoal') == ('subgoal', True)


def test_the_words_of_an_environment():
  env = make(resolve())
  desc = types.Description.decode(
      env.step({'action': 0, 'reset': True})['lore/state'])
  assert desc.actions == ('left', 'middle', 'right side')
  assert pictures.is_picture(desc.text) and desc.events
  prompt = prompts.render(types.Query(desc, desc.actions, 'action'))
  assert prompt.version == prompts.VISION
  assert pictures.PREFIX not in prompt.question
  assert desc.version == 'vision-1'


@pytest.mark.parametrize('given, expected', [
    ('a,b , c  d', ('a', 'b', 'c d')), ('a,,c', ('a', '', 'c')),
    ('numbered', ('action 0', 'action 1', 'action 2'))])
def test_the_words_of_a_user(given, expected):
  env = make(resolve('--lore.actions', given))
  state = env.step({'action': 0, 'reset': True})['lore/state']
  assert types.Description.decode(state).actions == expected


@pytest.mark.parametrize('argv, words', [
    (['--lore.actions', 'a, b'], 'has 2 words.*3 actions'),
    (['--env.gymnasium.kwargs', '{"named": false}'],
     '3 actions and no words.*--lore.actions'),
    (['--lore.advisor.mode', 'subgoal'], '--lore.advisor.mode action'),
    (['--env.gymnasium.size', '900', '900'], 'too large'),
    (['--task', 'gymnasium_CartPole-v1'], 'none of which is a picture'),
])
def test_bad_input(argv, words):
  with pytest.raises(errors.LoreError, match=words):
    make(resolve(*argv))


def test_minigrid_as_pictures():
  config = resolve('--task', 'minigrid_DoorKey-5x5')
  with pytest.raises(errors.EnvError, match='env.minigrid.obs image'):
    make(config)
  env = make(resolve(
      '--task', 'minigrid_DoorKey-5x5', '--env.minigrid.obs', 'image'))
  obs = env.step({'action': 0, 'reset': True})
  desc = types.Description.decode(obs['lore/state'])
  assert desc.actions[:3] == ('left', 'right', 'forward')
  assert 'DoorKey-5x5' in desc.mission


@pytest.mark.parametrize('shape', [(7, 5, 3), (64, 64, 1), (600, 2, 3)])
def test_pictures_travel_unchanged_and_in_their_room(shape):
  image = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
  text = pictures.encode(image)
  assert text.isprintable() and len(text) <= pictures.room(shape)
  big = PIL.Image.open(io.BytesIO(base64.b64decode(pictures.enlarge(text))))
  factor = max(1, 512 // max(shape))
  assert big.size == (shape[1] * factor, shape[0] * factor)
  again = np.asarray(big)[::factor, ::factor].reshape(shape)
  assert (again == image).all()


def test_names_through_wrappers():
  class Wrapper:
    def __init__(self, env):
      self.env = env
    def __getattr__(self, name):
      raise ValueError(name)
  class Atari:
    """As upstream's."""
    ACTION_MEANING = ('NOOP', 'FIRE', 'UP', 'RIGHT')
    actionset = [0, 3]
    act_space = {'action': type('Space', (), {'high': 2})}
  env = Wrapper(Wrapper(Atari()))
  env.act_space = Atari.act_space
  assert naming.find(env) == ('noop', 'right')
  assert naming.find(Wrapper(Wrapper(object()))) == ()
