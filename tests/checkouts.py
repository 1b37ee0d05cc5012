"""Copies of upstream with changes, as users make them in their checkouts."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

from lore_plugin import config as configlib
from lore_plugin import upstream

ROOT = pathlib.Path(__file__).parents[1]

# What users add that is no matter to LoRe: file, text there, text instead.
HARMLESS = [
    # Arguments that may be left out, and one more to the training loop.
    ('dreamerv3/main.py', 'def main(argv=None):',
     'def main(argv=None, notes=None):'),
    ('dreamerv3/main.py', 'def make_env(config, index, **',
     "def make_env(config, index, mode='train', **"),
    ('dreamerv3/main.py', '''        bind(make_logger, config),
        args)

  elif config.script == 'train_eval':''', '''        bind(make_logger, config),
        args, 'more')

  elif config.script == 'train_eval':'''),
    ('embodied/run/train.py', 'make_logger, args):',
     'make_logger, args, more):\n  assert more == "more"\n'),
    ('embodied/core/driver.py', 'parallel=True, **kwargs):',
     'parallel=True, seed=0, **kwargs):'),
    # A flag of its own, and a file of its own beside main.py.
    ('dreamerv3/main.py',
     "elements.Flags(configs=['defaults']).parse_known(argv)",
     "elements.Flags(configs=['defaults'], notes='').parse_known(argv)\n"
     "  print('Notes:', parsed.notes, (folder / 'rssm.py').is_file())"),
    # A head, its loss and its keys, in an agent that inherits the rest.
    ('dreamerv3/agent.py', 'class Agent(embodied.jax.Agent):',
     'class Base(embodied.jax.Agent):'),
    ('dreamerv3/agent.py', '    d1, d2 = config.policy_dist_disc',
     '    self.aux = embodied.jax.MLPHead(\n'
     "        scalar, **config.auxhead, name='aux')\n"
     '    d1, d2 = config.policy_dist_disc'),
    ('dreamerv3/agent.py', 'self.rew, self.con, self.pol, self.val]',
     'self.rew, self.con, self.pol, self.val, self.aux]'),
    ('dreamerv3/agent.py', '    con = f32(~obs',
     "    losses['aux'] = self.aux(inp, 2).loss(obs['reward'])\n"
     '    con = f32(~obs'),
    ('dreamerv3/agent.py', 'def imag_loss(', '''class Agent(Base):

  def __init__(self, obs_space, act_space, config, name2='x'):
    super().__init__(obs_space, act_space, config)


def imag_loss('''),
]
HARMLESS_KEYS = {'agent': {
    'loss_scales': {'aux': 0.5},
    'auxhead': {
        'layers': 1, 'units': 64, 'act': 'silu', 'norm': 'rms', 'bins': 255,
        'output': 'symexp_twohot', 'outscale': 0.0,
        'winit': 'trunc_normal_in'}}}
# A suite that is called as ours, with keys and a block of its own.
SUITE = [
    ('dreamerv3/main.py', "      'dummy': ",
     "      'minigrid': 'embodied.envs.mine:Mine',\n      'dummy': "),
]
SUITE_KEYS = {'env': {'minigrid': {'obs': 'rgb', 'speed': 3}}}
SUITE_BLOCKS = {'minigrid': {'task': 'minigrid_mine'}}
MINE = '''
import elements
import embodied
import numpy as np


class Mine(embodied.Env):

  def __init__(self, task, obs, speed):
    assert (task, obs, speed) == ('mine', 'rgb', 3)
    self.count = 0

  @property
  def obs_space(self):
    flags = ('is_first', 'is_last', 'is_terminal')
    return {
        'vector': elements.Space(np.float32, 3),
        'reward': elements.Space(np.float32),
        **{k: elements.Space(bool) for k in flags}}

  @property
  def act_space(self):
    return {
        'action': elements.Space(np.int32, (), 0, 2),
        'reset': elements.Space(bool)}

  def step(self, action):
    self.count = 0 if action['reset'] else self.count + 1
    return {
        'vector': np.zeros(3, np.float32), 'reward': np.float32(0),
        'is_first': self.count == 0, 'is_last': self.count == 5,
        'is_terminal': False}
'''


def merge(old, new):
  """Returns nested dictionaries as one; where both have a key, the new."""
  both = old.keys() & new.keys()
  return {**old, **new, **{
      k: merge(old[k], new[k]) for k in both if isinstance(new[k], dict)}}


def copy(folder, changes=(), keys=None, blocks=None):
  """Copies upstream into a folder and makes changes.

  Args:
    folder: Where to; new.
    changes: Rows of file, text there, text instead.
    keys: Keys for the block of defaults, nested.
    blocks: Other blocks of the configuration.

  Returns:
    The folder, from which Python imports the copy.
  """
  found = upstream.find()
  ignore = shutil.ignore_patterns('__pycache__', '__main__.py', '*.xml')
  for package in (found.folder, found.folder.parent / 'embodied'):
    shutil.copytree(package, folder / package.name, ignore=ignore)
  known = configlib.read(
      found.configs or configlib.folder('patches') / 'dreamerv3.yaml')
  defaults = merge(known['defaults'], keys or {})
  (folder / 'dreamerv3' / 'configs.yaml').write_text(json.dumps(
      {**known, 'defaults': defaults, **(blocks or {})}))
  envs = folder / 'embodied' / 'envs'
  envs.mkdir(exist_ok=True)
  (envs / '__init__.py').touch()
  (envs / 'mine.py').write_text(MINE)
  for name, old, new in changes:
    text = (folder / name).read_text()
    assert text.count(old) == 1, (name, old, text.count(old))
    (folder / name).write_text(text.replace(old, new))
  return folder


def python(*args, paths=(), cwd=None, env=None, timeout=600):
  """Runs Python with folders to import from, before those of this one."""
  return subprocess.run(
      [sys.executable, *map(str, args)], cwd=cwd, capture_output=True,
      text=True, timeout=timeout, check=False,
      env={**os.environ, **(env or {}), 'PYTHONPATH': os.pathsep.join(
          [*map(str, paths), str(ROOT)])})
