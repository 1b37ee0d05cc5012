"""State of the method: moments, scalars, and the ensemble and its training."""

import jax
import jax.numpy as jnp
import ninjax as nj
import numpy as np
import pytest

from lore_plugin.agent import maths
from lore_plugin.agent import modules

f32 = np.float32


def run(fn, *args, state=None):
  """Calls an impure function; returns its state and its result."""
  return nj.pure(fn)(dict(state or {}), *args, seed=0, create=True)


def close(actual, expected, tol=1e-5):
  np.testing.assert_allclose(actual, expected, rtol=tol, atol=tol)


def test_moments_weigh_all_of_training_alike():
  moments = modules.Moments(name='m')
  def fn():
    for value in (1., 3., 8.):
      moments.update(jnp.full(4, value))
    return moments.stats()
  _, (mean, std) = run(fn)
  close(mean, 4)
  # Variance of 1, 3, 8: (9 + 1 + 16) / 3.
  close(std, (26 / 3) ** 0.5)


def test_moments_forget_at_a_rate():
  moments = modules.Moments(rate=0.5, name='m')
  def fn():
    for value in (8., 0., 0., 4.):
      moments.update(jnp.array([value]))
    return moments.stats()
  # 8, then half of the way each time: 4, 2, 3.
  close(run(fn)[1][0], 3)


def test_moments_start_as_told():
  moments = modules.Moments(2.0, 0.5, count=9.0, name='m')
  def fn():
    before = moments.stats()
    moments.update(jnp.array([12.]))
    return before, moments.stats()[0]
  (mean, std), after = run(fn)[1]
  close([mean, std, after], [2, 0.5, 3])


def test_scalar_moves_where_the_condition_holds():
  scalar = modules.Scalar(2.0, name='s')
  def fn():
    scalar.set(5.0, jnp.array(False))
    kept = scalar()
    scalar.set(7.0, jnp.array(True))
    return kept, scalar()
  close(run(fn)[1], [2, 7])


def test_ensemble_predicts_for_each_member_and_action():
  ensemble = modules.Ensemble(4, members=3, units=8, name='e')
  x = np.random.default_rng(0).normal(size=(2, 5, 6)).astype(f32)
  def fn():
    every = ensemble(x[..., None, :], jnp.eye(7))
    one = ensemble(x, jnp.tile(jnp.eye(7)[2], (2, 5, 1)))
    return every, one
  state, (every, one) = run(fn)
  assert every.shape == (2, 5, 7, 3, 4) and one.shape == (2, 5, 3, 4)
  close(every[:, :, 2], one)
  assert {k: v.shape for k, v in state.items()} == {
      'e/inner': (6, 24), 'e/action': (7, 24), 'e/offset': (24,),
      'e/outer': (3, 8, 4), 'e/bias': (3, 4)}


def test_ensemble_gives_its_inputs_no_gradient():
  ensemble = modules.Ensemble(4, name='e')
  x = jnp.ones((2, 3))
  state, _ = run(lambda: ensemble(x))
  grad = jax.grad(lambda x: nj.pure(ensemble)(state, x, seed=0)[1].sum())(x)
  assert (np.asarray(grad) == 0).all()


@pytest.fixture(scope='module')
def trained():
  """An ensemble that has learned y = (x, x^2) of x in [0, 1]."""
  ensemble = modules.Ensemble(2, members=5, units=32, name='e')
  trainer = modules.Trainer(ensemble, rate=1e-2, name='t')
  rng = np.random.default_rng(0)
  def fn(x, weight):
    target = jnp.concatenate([x, x * x], -1)
    return trainer(lambda: ensemble.error(x, target, weight))
  state, first = run(fn, jnp.ones((64, 1)), jnp.ones(64))
  step = jax.jit(lambda state, x: nj.pure(fn)(
      state, x, jnp.ones(64), seed=0))
  for _ in range(400):
    state, last = step(state, rng.random((64, 1)).astype(f32))
  return ensemble, trainer, state, float(first), float(last)


def test_ensemble_learns(trained):
  ensemble, _, state, first, last = trained
  assert last < 1e-3 < first
  preds = nj.pure(ensemble)(state, jnp.array([[0.5]]), seed=0)[1]
  close(preds.mean(-2), [[0.5, 0.25]], 0.05)


def test_ensemble_disagrees_where_it_has_seen_nothing(trained):
  ensemble, _, state, _, _ = trained
  x = jnp.array([[0.2], [0.8], [-4.], [5.]])
  preds = nj.pure(ensemble)(state, x, seed=0)[1][:, None]
  inside, also, left, right = maths.disagreement(preds, jnp.ones((4, 1)))
  assert max(inside, also) < 0.05 * min(left, right)


def test_training_ignores_rows_without_weight(trained):
  ensemble, trainer, state, _, _ = trained
  def fn(x, y, weight):
    return trainer(lambda: ensemble.error(x, y, weight))
  x, y = jnp.array([[0.5], [0.9]]), jnp.array([[0.5, 0.25], [99., 99.]])
  run = nj.pure(fn)
  one, loss = run(state, x, y, jnp.array([1., 0.]), seed=0)
  two, same = run(state, x, y.at[1].set(-7.), jnp.array([1., 0.]), seed=0)
  assert loss == same < 1
  for key in one:
    np.testing.assert_array_equal(one[key], two[key], key)


def test_a_step_left_out_leaves_weights_and_moments_alone():
  ensemble = modules.Ensemble(1, members=2, units=4, name='e')
  trainer = modules.Trainer(ensemble, rate=1e-2, name='t')
  x, weight = jnp.ones((3, 1)), jnp.ones(3)
  def fn(where):
    return trainer(lambda: ensemble.error(x, 5 * x, weight), where)
  state, _ = run(fn, jnp.array(False))
  kept, loss = run(fn, jnp.array(False), state=state)
  assert loss == 0 and kept.keys() == state.keys()
  for key in state:
    np.testing.assert_array_equal(kept[key], state[key], key)
  moved, loss = run(fn, jnp.array(True), state=state)
  assert loss > 1
  assert (moved['e/outer'] != state['e/outer']).all()
  # As if none had been left out.
  def always():
    return trainer(lambda: ensemble.error(x, 5 * x, weight))
  same, _ = run(always, state=state)
  close(moved['e/outer'], same['e/outer'])
