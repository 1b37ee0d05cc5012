"""The advised agent against the plain one, both at debug size."""

import functools
import json
import pathlib
import subprocess
import sys

import elements
import jax
import ninjax as nj
import numpy as np
import pytest

from lore_plugin.agent import advised
from lore_plugin.agent import columns
from lore_plugin.agent import head
from lore_plugin.agent import lore as agentlib
from lore_plugin import config as configlib
from lore_plugin import errors
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


def advice(agent, prior, valid, trust=1, uplift=0, opened=0, alone=1):
  """What the agent observes of it: only the prior differs between states."""
  values = {
      columns.VALID: valid, columns.TRUST: trust, columns.UPLIFT: uplift,
      columns.OPEN: opened, columns.ALONE: alone}
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


@pytest.fixture(scope='module')
def plain():
  return make(False)


@pytest.fixture(scope='module')
def lore():
  return make(True)


@pytest.fixture(scope='module')
def closed():
  """An agent whose gate never opens, whose penalty is off, whose critic is
  asked for the call policy."""
  return make(
      True, '--lore.gate.beta_max', '0.0', '--lore.kl.penalty', 'False',
      '--lore.advisor.policy.min_td', '1.0')


@pytest.fixture(scope='module')
def curious():
  """An agent that learns all it can on the side; its gate never opens."""
  return make(
      True, '--lore.gate.beta_max', '0.0', '--lore.kl.penalty', 'False',
      '--lore.gate.value', '0.5', '--lore.gate.disagreement', '1.0',
      '--lore.prior.enabled', 'True')


def test_starts_from_the_same_parameters(plain, lore, curious):
  for agent in (lore, curious):
    for key, (a, b) in shared(plain, agent).items():
      np.testing.assert_array_equal(a, b, key)


def test_without_advice_acts_as_the_plain_agent(plain, lore):
  expected, _ = play(plain, False)
  actual, outs = play(lore, True, valid=False)
  np.testing.assert_array_equal(actual, expected)
  assert all((x['log/lore_kl'] == 0).all() for x in outs)
  assert all((x['log/lore_src_wm'] == 1).all() for x in outs)


def test_closed_gate_is_the_plain_agent_through_training(
    plain, closed, curious):
  # Advice is there, and must change nothing at all; nor must what is learned
  # on the side.
  prior = np.tile(np.linspace(-9, 9, A, dtype=np.float32), (ENVS, 1))
  agents = plain, closed, curious
  carries = [x.init_train(x.config.batch_size) for x in agents]
  losses = []
  for seed in range(3):
    for i, agent in enumerate(agents):
      carries[i], mets = learn(
          agent, carries[i], batch(agent, agent is not plain, seed))
    losses.append(mets.get('lore/ensemble_loss'))
  for agent in (closed, curious):
    for key, (a, b) in shared(plain, agent).items():
      np.testing.assert_array_equal(a, b, key)
  expected, _ = play(plain, False)
  for agent in (closed, curious):
    actual, outs = play(agent, True, prior=prior)
    np.testing.assert_array_equal(actual, expected)
  assert losses[-1] > 0
  for part in ('value', 'disagreement'):
    gap = np.array([x[f'log/lore_u_{part}'] for x in outs])
    assert (gap > 0).all() and np.isfinite(gap).all(), part


@pytest.mark.parametrize('name', ['lore', 'closed', 'curious'])
def test_the_policy_is_given_what_it_reads_and_nothing_else(name, request):
  agent = request.getfixturevalue(name)
  policy = functools.partial(nj.pure(agent.model.policy), create=False)
  obs = observations(agent, np.random.default_rng(0), True, True)
  with jax.transfer_guard('allow'):
    carry = agent.model.init_policy(ENVS)
    jaxpr = jax.make_jaxpr(lambda params: policy(
        params, carry, obs, seed=jax.random.PRNGKey(0))[1])(agent.params).jaxpr
  read = {str(x) for e in jaxpr.eqns for x in e.invars}
  names = sorted(agent.params)
  assert len(names) == len(jaxpr.invars)
  assert set(agent.policy_keys) == {
      k for k, x in zip(names, jaxpr.invars) if str(x) in read}


def test_ensemble_and_student_learn_from_replay(curious):
  names = 'lore_ensemble/outer', 'lore_prior/outer'
  start = {k: curious.save()['params'][k] for k in names}
  carry = curious.init_train(curious.config.batch_size)
  losses = []
  for _ in range(30):
    carry, mets = learn(curious, carry, batch(curious, True, 0))
    if mets:
      losses.append([
          float(mets[f'lore/{k}_loss']) for k in ('ensemble', 'prior')])
  before, after = np.mean(losses[:3], 0), np.mean(losses[-3:], 0)
  assert (after < 0.95 * before).all(), losses
  for name in names:
    assert (curious.save()['params'][name] != start[name]).any()


def test_what_is_proven_moves_the_actor_and_nothing_else():
  off, on = make(True, '--lore.kl.distil', '0.0'), make(True)
  own = 'lore_train_actor/'
  carries = [x.init_train(x.config.batch_size) for x in (off, on)]
  # Advice that is not proven teaches nothing, bit for bit.
  for seed in range(2):
    carries = [
        x.train(carry, batch(x, True, seed))[0]
        for x, carry in zip((off, on), carries)]
  for key, (a, b) in shared(off, on, own).items():
    np.testing.assert_array_equal(a, b, key)
  # The policy's gradient is that of the loss before, so that one step apart
  # only the actor can differ.
  proven = batch(on, True, 2, uplift=1)
  off.train(carries[0], batch(off, True, 2))
  carry, _ = learn(on, carries[1], dict(proven))
  moved = {k for k, (a, b) in shared(off, on, own).items() if (a != b).any()}
  assert moved and all(k.startswith('pol/') for k in moved), moved
  losses = []
  for _ in range(30):
    carry, mets = learn(on, carry, dict(proven))
    losses += [float(mets['lore/distil'])] if mets else []
  assert 0 < losses[-1] < 0.97 * losses[0], losses


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


@pytest.mark.slow
def test_devices_and_precision_learn_alike():
  # As on a machine with two GPUs, and in the precision of one.
  program = pathlib.Path(__file__).parent / 'programs' / 'devices.py'
  others = [
      (['--jax.mock_devices', '2', '--jax.train_devices', '0', '1'], 1e-3),
      (['--jax.compute_dtype', 'bfloat16'], 3e-2)]
  children = [
      subprocess.Popen(
          [sys.executable, program, '--jax.platform', 'cpu', *flags],
          stdout=subprocess.PIPE, text=True)
      for flags, _ in others]
  one = learn_what_is_proven(['--jax.platform', 'cpu'])
  for child, (flags, tolerance) in zip(children, others):
    out = child.communicate(timeout=300)[0]
    assert child.returncode == 0, flags
    rows = json.loads(out.splitlines()[-1])
    assert len(rows) > 3 and min(x[0] for x in rows) > 0.1
    np.testing.assert_allclose(rows, one, rtol=tolerance, err_msg=str(flags))


def test_advice_tilts_the_actions(lore):
  prior = np.full((ENVS, A), -5, np.float32)
  prior[:, 4] = 30
  acts, outs = play(lore, True, prior=prior)
  assert (acts == 4).all()
  assert all((x['log/lore_kl'] > 0.5).all() for x in outs)
  assert all((x['log/lore_prob_max'] > 0.99).all() for x in outs)
  assert all((x['log/lore_src_llm'] == 1).all() for x in outs)


def test_logged_quantities_are_scalars_per_environment(lore):
  _, outs = play(lore, True, steps=1)
  logs = {k: v for k, v in outs[0].items() if k.startswith('log/lore_')}
  assert {f'log/lore_{k}' for k in (
      'src_wm', 'src_llm', 'src_rand', 'prob_max', 'entropy_mix',
      'entropy_wm', 'kl', 'beta', 'ceiling', 'lambda', 'temperature',
      'trust', 'u', 'u_entropy')} == logs.keys()
  for key, value in {**logs, advised.U: outs[0][advised.U]}.items():
    assert value.shape == (ENVS,) and np.isfinite(value).all(), key
  total = sum(logs[f'log/lore_src_{k}'] for k in ('wm', 'llm', 'rand'))
  np.testing.assert_array_equal(total, np.ones(ENVS))


def test_training_moves_dual_temperature_and_moments():
  lore = make(True, '--lore.kl.target', '0.0')
  before = jax.device_get({
      k: v for k, v in lore.params.items() if k.startswith('lore_')})
  carry = lore.init_train(lore.config.batch_size)
  mets = {}
  for seed in range(3):
    carry, mets = learn(lore, carry, batch(lore, True, seed))
  after = jax.device_get(lore.params)
  seen = [k for k in before if k.endswith('/seen/value')]
  assert seen and all(after[k] == before[k] + 3 for k in seen)
  dual = next(k for k in before if k.startswith('lore_dual'))
  assert after[dual] >= 0 and after[dual] != before[dual]
  temp = next(k for k in before if k.startswith('lore_temp'))
  assert 0.5 <= after[temp] <= 3.0
  assert all(np.isfinite(v).all() for v in mets.values()), mets
  assert {'lore/kl', 'lore/lambda', 'lore/temperature'} <= mets.keys()


def test_training_without_advice_leaves_the_dual_alone(lore):
  keys = [
      k for k in lore.params if k.startswith(('lore_dual', 'lore_temp'))]
  before = jax.device_get({k: lore.params[k] for k in keys})
  carry = lore.init_train(lore.config.batch_size)
  carry, _, _ = lore.train(carry, batch(lore, True, valid=False))
  after = jax.device_get(lore.params)
  for key in keys:
    np.testing.assert_array_equal(before[key], after[key], key)


@pytest.fixture(scope='module')
def bounded():
  """An agent with every option of the gate and of the divergence."""
  return make(
      True, '--lore.gate.warmup', '2', '--lore.gate.hysteresis', '1.0',
      '--lore.gate.dropout', '0.5', '--lore.kl.hard', '0.2',
      '--lore.kl.schedule.mode', 'steps', '--lore.kl.schedule.end', '0.25',
      '--lore.kl.schedule.over', '4', '--lore.temperature.mode', 'match')


def test_options_of_the_gate(bounded):
  prior = np.tile(np.linspace(-9, 9, A, dtype=np.float32), (ENVS, 1))
  collect = lambda outs, key: np.array([x[f'log/lore_{key}'] for x in outs])
  # Before the first update the gate is shut.
  _, outs = play(bounded, True, prior=prior)
  assert (collect(outs, 'kl') == 0).all()
  carry = bounded.init_train(bounded.config.batch_size)
  reached = []
  for seed in range(6):
    carry, mets = learn(bounded, carry, batch(bounded, True, seed))
    # The first steps of the policy bring its parameters up to date.
    _, outs = play(bounded, True, steps=12, prior=prior)
    reached.append(collect(outs[2:], 'kl'))
  # The bound of 0.2 falls to a quarter of that in four updates.
  assert 0.05 < reached[1].max() <= 0.2 + 1e-5
  assert 0.049 < reached[-1].max() <= 0.05 + 1e-5
  dropped = np.mean([(x == 0).mean() for x in reached[1:]])
  assert 0.3 < dropped < 0.7
  assert all(np.isfinite(v).all() for v in mets.values()), mets
  opened = np.array([x[columns.OPEN] for x in outs])
  assert set(opened.flatten()) <= {-1.0, 1.0}


def test_hysteresis_keeps_an_open_gate_open(bounded):
  rng = np.random.default_rng(0)
  obs = observations(bounded, rng, True, True)
  prior = np.zeros((ENVS, A), np.float32)
  seen = {}
  for memory in (-1, 0, 1):
    bounded.n_actions.value = 0
    carry = bounded.init_policy(ENVS)
    obs.update(advice(bounded, prior, True, opened=memory))
    _, _, out = bounded.policy(carry, obs)
    out = columns.unpack(out, advised.LOG)
    seen[memory] = out[advised.U], out[columns.OPEN]
  u = seen[0][0]
  for memory, (same, opened) in seen.items():
    np.testing.assert_array_equal(same, u)
    np.testing.assert_array_equal(opened > 0, u > -memory)


@pytest.fixture(scope='module')
def taught():
  """An agent that is as sure of learned advice as can be."""
  agent = make(
      True, '--lore.prior.enabled', 'True', '--lore.prior.confidence', '0.0',
      '--lore.imagination.beta', '1.0',
      '--lore.kl.schedule.mode', 'success', '--lore.kl.schedule.over', '2')
  carry = agent.init_train(agent.config.batch_size)
  for seed in range(2):
    carry, mets = learn(agent, carry, batch(agent, True, seed))
  return agent, {k: float(v) for k, v in mets.items() if np.ndim(v) == 0}


def test_schedule_follows_the_success_of_the_agent_alone(taught):
  agent, _ = taught
  # Two updates, each of which goes half of what is left to 1.
  params = agent.save()['params']
  progress = next(v for k, v in params.items() if 'lore_progress' in k)
  np.testing.assert_allclose(progress, 0.75)


def test_student_gives_learned_advice_where_there_is_none(taught):
  agent, _ = taught
  _, outs = play(agent, True, valid=False)
  assert all((x['log/lore_src_net'] == 1).all() for x in outs)
  assert all((x['log/lore_src_llm'] == 0).all() for x in outs)
  assert all(
      ((x['log/lore_sure'] >= 0) & (x['log/lore_sure'] <= 1)).all()
      for x in outs)
  assert all((x['log/lore_kl'] > 0).all() for x in outs)
  total = sum(
      np.array([x[f'log/lore_src_{k}'] for x in outs])
      for k in ('wm', 'llm', 'net', 'rand'))
  np.testing.assert_array_equal(total, np.ones_like(total))


def test_student_is_silent_where_advice_is_not_trusted(taught):
  agent, _ = taught
  obs = observations(agent, np.random.default_rng(0), True, False, trust=0)
  _, _, out = agent.policy(agent.init_policy(ENVS), obs)
  out = columns.unpack(out, advised.LOG)
  assert (out['log/lore_src_net'] == 0).all()
  assert (out['log/lore_kl'] == 0).all()


def test_stored_advice_goes_before_learned(taught):
  agent, _ = taught
  prior = np.tile(np.eye(A, dtype=np.float32)[2] * 42 - 6, (ENVS, 1))
  acts, outs = play(agent, True, prior=prior)
  assert all((x['log/lore_src_llm'] == 1).all() for x in outs)
  assert (acts == 2).all()


def test_figures_are_finite(taught):
  _, mets = taught
  assert all(np.isfinite(x) for x in mets.values()), mets


def test_state_survives_the_checkpoint(lore):
  data = lore.save()
  kept = {k: v for k, v in data['params'].items() if k.startswith('lore_')}
  moments = [k for k in kept if k.startswith('lore_train_actor/')]
  assert len(kept) - len(moments) == 5, kept.keys()
  # Adam's two of each parameter of the actor, and two counts of steps.
  assert len(moments) == 2 + 2 * sum(
      k.startswith('pol/') for k in data['params'])
  carry = lore.init_train(lore.config.batch_size)
  lore.train(carry, batch(lore, True))
  lore.load(data)
  for key, value in kept.items():
    np.testing.assert_array_equal(lore.params[key], value, key)


class Silent:
  """An advisor of which nothing was saved."""


def test_loads_what_other_options_saved(lore, curious, capsys):
  def advise(agent):
    return advised.AdvisedAgent(agent, Silent(), A)
  saved, own = curious.save(), lore.save()
  for regex in ('.*', None):
    advise(lore).load(saved, regex)
    for key, value in lore.params.items():
      expected = saved['params'].get(key, own['params'][key])
      np.testing.assert_array_equal(value, expected, key)
    said = capsys.readouterr().out
    assert 'has no use for it: lore_ensemble, lore_moments_' in said
    assert ('New in this run: lore_train_actor.' in said) == (regex is None)
  # What was loaded acts, and learns.
  play(lore, True)
  learn(lore, lore.init_train(lore.config.batch_size), batch(lore, True, 0))
  small = {**saved, 'params': {
      k: v[..., :-1] if k == 'pol/mlp/norm0/scale' else v
      for k, v in saved['params'].items()}}
  with pytest.raises(errors.ConfigError, match='pol/mlp/norm0/scale is of'):
    advise(lore).load(small)
  lore.load(own)


@pytest.mark.parametrize('space, named', [
    ({'action': elements.Space(np.float32, 2)}, 'float32'),
    ({'action': elements.Space(np.int32, (2,), 0, 3)}, 'int32'),
    ({'a': elements.Space(np.int32, (), 0, 3),
      'b': elements.Space(np.int32, (), 0, 3)}, 'b: '),
    ({}, '{}'),
])
def test_refuses_action_spaces_that_it_cannot_advise(space, named):
  with pytest.raises(errors.EnvError) as e:
    head.advised_action({**space, 'reset': elements.Space(bool)})
  assert named in str(e.value) and 'leave lore out' in str(e.value)


def test_digests_name_states_by_content():
  states = np.zeros((3, 16), np.uint8)
  states[2, 5] = 1
  names = advised.digests(states)
  assert names.shape == (3, 8) and names.dtype == np.uint8
  assert (names[0] == names[1]).all() and (names[0] != names[2]).any()
