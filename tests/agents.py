"""Agents at debug size, and made-up experience for them."""

import elements
import jax
import numpy as np

from lore_plugin.agent import advised
from lore_plugin.agent import columns
from lore_plugin.agent import lore as agentlib
from lore_plugin import config as configlib
from lore_plugin import launch
from lore_plugin import upstream

A = 7
ENVS = 3


def resolve(*argv):
  found = upstream.find()
  upstream.install()
  return configlib.resolve(
      ['--configs', 'minigrid', 'lore', 'debug', '--logdir', '/nowhere',
       *argv], configlib.load(found.configs))


def make(lore, *argv):
  """Builds an agent without an advisor around it."""
  config = resolve(*argv)
  env = launch.make_env(config, 0)
  obs = {
      k: v for k, v in env.obs_space.items()
      if not k.startswith(('log/', 'lore/'))}
  act = {k: v for k, v in env.act_space.items() if k != 'reset'}
  env.close()
  if lore:
    obs.update(columns.spaces(A, config.lore))
  cfg = dict(
      **config.agent, logdir='/nowhere', seed=config.seed, jax=config.jax,
      batch_size=config.batch_size, batch_length=config.batch_length,
      replay_context=config.replay_context,
      report_length=config.report_length, replica=0, replicas=1)
  if lore:
    return agentlib.LoreAgent(
        obs, act, elements.Config({**cfg, 'lore': config.lore}))
  import dreamerv3.agent
  return dreamerv3.agent.Agent(obs, act, elements.Config(cfg))


def observations(agent, rng, lore, valid, prior=None, **state):
  obs = {
      k: rng.integers(0, 2, (ENVS, *v.shape)).astype(v.dtype)
      for k, v in sorted(agent.obs_space.items())
      if not k.startswith('lore/') and not k.startswith('is_')}
  for key in ('is_first', 'is_last', 'is_terminal'):
    obs[key] = np.zeros(ENVS, bool)
  if lore:
    prior = np.zeros((ENVS, A), np.float32) if prior is None else prior
    obs.update(advice(agent, prior, valid, **state))
  return obs


def advice(agent, prior, valid, trust=1, uplift=0, alone=1):
  """What the agent observes of it: only the prior differs between states."""
  values = {
      columns.VALID: valid, columns.TRUST: trust, columns.UPLIFT: uplift,
      columns.ALONE: alone}
  return {columns.ADVICE: columns.join(
      {**values, columns.PRIOR: prior}, agent.model.columns)}


def batch(agent, lore, seed=0, valid=True, uplift=0):
  """A batch of made-up experience, the same for both agents."""
  rng = np.random.default_rng(seed)
  config = agent.config
  shape = config.batch_size, config.batch_length + config.replay_context
  data = {}
  for key, space in sorted(agent.spaces.items()):
    if key.startswith('lore/') or key == 'stepid':
      continue
    full = (*shape, *space.shape)
    data[key] = (
        rng.random(full) < 0.05 if space.dtype == bool
        else rng.integers(0, 2, full).astype(space.dtype))
  data['consec'] = np.zeros(shape, np.int32)
  data['stepid'] = np.zeros((*shape, 20), np.uint8)
  if lore:
    prior = np.random.default_rng(seed + 1).normal(size=(*shape, A))
    data.update(advice(agent, prior.astype(np.float32), valid, uplift=uplift))
  return next(iter(agent.stream(Once(data))))


class Once:
  """A stream of one batch, again and again."""

  def __init__(self, data):
    self.data = data

  def __iter__(self):
    return self

  def __next__(self):
    return dict(self.data)


def play(agent, lore, steps=6, valid=True, seed=3, prior=None):
  rng = np.random.default_rng(seed)
  agent.n_actions.value = 0  # Upstream draws its random numbers by count.
  carry = agent.init_policy(ENVS)
  acts, outs = [], []
  for _ in range(steps):
    carry, act, out = agent.policy(
        carry, observations(agent, rng, lore, valid, prior))
    acts.append(act['action'])
    outs.append(columns.unpack(out, advised.LOG))
  return np.array(acts), outs


def learn(agent, carry, data):
  """Takes a gradient step. Returns the carry and the figures, by name."""
  carry, _, mets = agent.train(carry, data)
  return carry, columns.unpack(mets, 'lore/')


def shared(plain, lore, own='lore_'):
  """Parameters that both agents have, as pairs; the second has its own."""
  a, b = jax.device_get((plain.params, lore.params))
  assert a.keys() <= b.keys()
  assert b.keys() - a.keys() == {k for k in b if k.startswith(own)}
  return {k: (a[k], b[k]) for k in a}


def learn_what_is_proven(argv):
  """Returns what is logged of a few updates, as lists of floats."""
  agent = make(
      True, '--batch_size', '4', '--lore.gate.value', '0.5', *argv)
  carry = agent.init_train(agent.config.batch_size)
  rows = []
  for seed in range(6):
    carry, mets = learn(agent, carry, batch(agent, True, seed, uplift=1))
    rows += [[float(mets[f'lore/{k}']) for k in (
        'distil', 'kl', 'beta', 'u_entropy', 'u_value')]] if mets else []
  return rows


class Inner:
  """Stands in for the jitted agent of an `AdvisedAgent`."""

  def init_policy(self, batch_size):
    return ()

  def policy(self, carry, obs, mode):
    outs = {advised.U: np.zeros(1, np.float32)}
    return carry, {'action': np.zeros(1, np.int32)}, outs
