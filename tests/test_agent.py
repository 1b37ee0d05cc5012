"""The advised agent against the plain one, both at debug size."""

import functools

import elements
import jax
import ninjax as nj
import numpy as np
import pytest
from agents import A, ENVS, batch, learn, make, observations, play, shared

from lore_plugin.agent import advised
from lore_plugin.agent import head
from lore_plugin import errors


@pytest.fixture(scope='module')
def plain():
  return make(False)


@pytest.fixture(scope='module')
def lore():
  return make(True)


@pytest.mark.parametrize('name', ['weights', 'temp', 'mix', 'lore'])
def test_a_changed_agent_keeps_what_is_its_own(monkeypatch, name):
  from dreamerv3.agent import Agent
  before = Agent.__init__
  def init(self, *args, **kwargs):
    before(self, *args, **kwargs)
    setattr(self, name, 2.0)
    self.aux = 1.0  # What LoRe does not use is none of its business.
  monkeypatch.setattr(Agent, '__init__', init)
  with pytest.raises(errors.UpstreamError, match=f'Agent has {name} of its'):
    make(True)


def test_a_changed_agent_keeps_its_methods(monkeypatch):
  from dreamerv3.agent import Agent
  monkeypatch.setattr(Agent, 'signals', lambda self: None, raising=False)
  with pytest.raises(errors.UpstreamError, match='Agent has signals of its'):
    make(True)


@pytest.fixture(scope='module')
def closed():
  """An agent whose gate never opens, and whose penalty is off."""
  return make(
      True, '--lore.gate.beta_max', '0.0', '--lore.kl.penalty', 'False')


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
