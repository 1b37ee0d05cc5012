"""What options add to the agent, on one device and on two."""

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from agents import (
    A, ENVS, batch, learn, learn_what_is_proven, make, observations,
    play)

from lore_plugin.agent import advised
from lore_plugin.agent import columns


@pytest.fixture(scope='module')
def bounded():
  """An agent with every option of the gate and of the divergence."""
  return make(
      True, '--lore.kl.hard', '0.2',
      '--lore.kl.schedule.mode', 'steps', '--lore.kl.schedule.end', '0.25',
      '--lore.kl.schedule.over', '4', '--lore.temperature.mode', 'match')


def test_options_of_the_gate(bounded):
  prior = np.tile(np.linspace(-9, 9, A, dtype=np.float32), (ENVS, 1))
  collect = lambda outs, key: np.array([x[f'log/lore_{key}'] for x in outs])
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
  assert all(np.isfinite(v).all() for v in mets.values()), mets


@pytest.fixture(scope='module')
def taught():
  """An agent that is as sure of learned advice as can be."""
  agent = make(
      True, '--lore.prior.enabled', 'True', '--lore.prior.confidence', '0.0',
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


@pytest.mark.slow
@pytest.mark.long
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
