"""Laws of the equations, and numbers worked by hand."""

import math

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lore_plugin.agent import maths

f32 = np.float32
LOG2 = math.log(2)

BOTH = pytest.mark.parametrize('wrap', [lambda f: f, jax.jit], ids=['', 'jit'])
logits = st.lists(
    st.floats(-10, 10, width=32), min_size=5, max_size=5).map(
        lambda x: np.array(x, f32))


@pytest.fixture(autouse=True)
def debug_nans():
  with jax.debug_nans(True):
    yield


def close(actual, expected, tol=1e-5):
  np.testing.assert_allclose(actual, expected, rtol=tol, atol=tol)


@BOTH
def test_entropy_by_hand(wrap):
  fn = wrap(maths.entropy)
  close(fn(jnp.zeros(4)), 2 * LOG2)
  # Probabilities 1/2, 1/4, 1/4: 1/2 log 2 + 2 * 1/4 * 2 log 2.
  close(fn(jnp.log(jnp.array([2., 1., 1.]))), 1.5 * LOG2)
  close(fn(jnp.array([100., 0., 0.])), 0)


@BOTH
def test_kl_by_hand(wrap):
  fn = wrap(maths.kl)
  p = jnp.log(jnp.array([0.5, 0.5]))
  q = jnp.log(jnp.array([0.25, 0.75]))
  # 1/2 log 2 + 1/2 log 2/3.
  close(fn(p, q), 0.5 * math.log(2) + 0.5 * math.log(2 / 3))
  close(fn(p, p), 0)


@BOTH
def test_mix_by_hand(wrap):
  fn = wrap(maths.mix)
  out = fn(jnp.array([[1., 2.], [3., 4.]]), jnp.array([[1., -1.], [2., -2.]]),
           jnp.array([0., 0.5]))
  close(out, [[1, 2], [4, 3]])


def test_mix_closed_gate_returns_actor_exactly():
  rng = np.random.default_rng(0)
  x, prior = rng.normal(size=(2, 3, 7)).astype(f32)
  out = maths.mix(jnp.array(x), jnp.array(prior), jnp.zeros(3))
  assert (np.asarray(out) == x).all()


def test_mix_stops_gradients_into_the_advice():
  def fn(x, prior, beta):
    return jnp.square(maths.mix(x, prior, beta)).sum()
  args = jnp.array([[1., 2.]]), jnp.array([[3., 4.]]), jnp.array([0.5])
  dx, dprior, dbeta = jax.grad(fn, (0, 1, 2))(*args)
  assert (np.asarray(dprior) == 0).all() and (np.asarray(dbeta) == 0).all()
  # d/dx (x + prior / 2)^2.
  close(dx, [[2 * 2.5, 2 * 4.]])


@hypothesis.given(logits, logits)
@hypothesis.settings(max_examples=100, deadline=None)
def test_divergence_of_the_mix_grows_with_beta(x, prior):
  betas = jnp.linspace(0, 3, 7)
  mixed = maths.mix(
      jnp.tile(x, (7, 1)), jnp.tile(prior, (7, 1)), betas)
  divs = np.asarray(maths.kl(mixed, jnp.asarray(x)))
  assert (divs >= -1e-5).all()
  assert (np.diff(divs) >= -1e-4).all(), divs


@BOTH
def test_gate_by_hand(wrap):
  fn = wrap(lambda u: maths.gate(u, 3.0, 2.0, 0.5))
  close(fn(jnp.array([0.5, -100.0, 100.0])), [1.5, 0.0, 3.0])
  # sigmoid(2 * (0.5 + log(3) / 2 - 0.5)) = 3 / 4.
  close(fn(jnp.array(0.5 + math.log(3) / 2)), 2.25)


def test_gate_is_monotone_and_bounded():
  beta = np.asarray(maths.gate(jnp.linspace(-9, 9, 99), 2.0, 3.0, 0.0))
  assert (np.diff(beta) >= 0).all() and beta.min() >= 0 and beta.max() <= 2


def brute_temperature(x, prior, valid, low, high):
  ts = np.linspace(low, high, 2001)
  values = [float(maths.masked_mean(maths.kl(
      jnp.asarray(x), jnp.asarray(prior) / t), jnp.asarray(valid)))
      for t in ts[::20]]
  return ts[::20][int(np.argmin(values))]


@BOTH
def test_temperature_recovers_the_one_that_made_the_actor(wrap):
  prior = jnp.array([[2., -1., 0.], [0., 3., -3.]])
  fn = wrap(lambda x: maths.match_temperature(
      x, prior, jnp.ones(2, bool), 0.5, 3.0))
  for t in (0.7, 1.0, 1.9):
    close(fn(prior / t), t, 1e-3)


def test_temperature_is_scale_equivariant():
  rng = np.random.default_rng(1)
  x, prior = rng.normal(size=(2, 6, 4)).astype(f32)
  valid = jnp.ones(6, bool)
  one = maths.match_temperature(x, prior, valid, 0.2, 20.0, 30)
  two = maths.match_temperature(x, 3 * prior, valid, 0.2 * 3, 20.0 * 3, 30)
  close(3 * one, two, 1e-3)


def test_temperature_agrees_with_a_search():
  rng = np.random.default_rng(2)
  for _ in range(5):
    x, prior = (2 * rng.normal(size=(2, 6, 4))).astype(f32)
    valid = np.array([1, 1, 0, 1, 0, 1], bool)
    found = maths.match_temperature(x, prior, valid, 0.5, 3.0)
    assert abs(found - brute_temperature(x, prior, valid, 0.5, 3.0)) < 0.03


def test_temperature_ends_of_the_bracket():
  prior = jnp.array([[4., 0., 0.]])
  valid = jnp.ones(1, bool)
  # An actor that knows nothing flattens the advice as far as allowed.
  assert maths.match_temperature(jnp.zeros((1, 3)), prior, valid, .5, 3.) == 3
  # One that is surer than the advice sharpens it as far as allowed.
  sure = jnp.array([[90., 0., 0.]])
  assert maths.match_temperature(sure, prior, valid, .5, 3.) == 0.5
  # One that disagrees flattens it too.
  other = jnp.array([[0., 9., 0.]])
  assert maths.match_temperature(other, prior, valid, .5, 3.) == 3
  none = jnp.zeros(1, bool)
  assert maths.match_temperature(sure, prior, none, .5, 3.) == 3


@BOTH
def test_bound_by_hand(wrap):
  # As above: 3/4 is reached at 2 beta = log 3.
  limit = LOG2 - (0.75 * math.log(4 / 3) + 0.25 * math.log(4))
  fn = wrap(lambda beta, limit: maths.bound(
      beta, jnp.zeros((3, 2)), jnp.array([[1., -1.]] * 3), limit))
  half = math.log(3) / 2
  close(fn(jnp.array([3., half - 0.01, 0.]), limit), [half, half - 0.01, 0],
        1e-4)
  close(fn(jnp.array([3., 1., 0.]), 0.0), [0, 0, 0], 1e-3)
  # The other advice gives log 2 at most.
  close(fn(jnp.array([3., 1., 0.]), 1.0), [3, 1, 0])


@hypothesis.given(logits, logits, st.floats(0, 10), st.floats(0, 3))
@hypothesis.example(
    np.array([0, 2, 3, 4, 3], f32), np.array([1, 0, 0, 0, 3], f32), 1e-5, 0.0)
@hypothesis.settings(max_examples=100, deadline=None)
def test_bound_is_never_exceeded_and_nothing_is_given_away(
    x, prior, beta, limit):
  x, prior = jnp.asarray(x), jnp.asarray(prior)
  found = maths.bound(f32(beta), x, prior, f32(limit))
  divergence = lambda b: float(maths.kl(maths.mix(x, prior, b), x))
  assert 0 <= found <= f32(beta)
  assert divergence(found) <= f32(limit)
  if found < f32(beta):
    assert divergence(found + 1e-6 + beta * 1e-5) >= limit - 3e-5


def test_bound_has_no_gradient():
  def fn(beta, x, prior, limit):
    return maths.bound(beta, x, prior, limit).sum()
  grads = jax.grad(fn, (0, 1, 2, 3))(
      jnp.ones(2), jnp.zeros((2, 3)), jnp.ones((2, 3)).at[:, 0].set(4.), 0.1)
  for grad in grads:
    assert (np.asarray(grad) == 0).all()


@BOTH
def test_schedule_by_hand(wrap):
  fn = wrap(lambda x: maths.schedule(x, 2.0, 0.5))
  close([fn(x) for x in (-1., 0., 0.5, 1., 7.)], [2, 2, 1.25, 0.5, 0.5])


@BOTH
def test_normalise_by_hand(wrap):
  fn = wrap(lambda x, m, s: maths.normalise(x, m, s, 0.1))
  close(fn(jnp.array([3., 1.]), 1.0, 2.0), [1, 0])
  close(fn(jnp.array([1.05]), 1.0, 0.0), [0.5])
  close(fn(jnp.array([99., -99.]), 0.0, 1.0), [5, -5])


def test_combine_by_hand():
  parts = {'entropy': jnp.array([1., 2.]), 'value': jnp.array([-1., 3.])}
  close(maths.combine(parts, {'entropy': 1.0, 'value': 0.5}), [0.5, 3.5])
  with pytest.raises(AssertionError):
    maths.combine(parts, {'entropy': 1.0})


@BOTH
def test_penalty_by_hand(wrap):
  fn = wrap(lambda kl, w: maths.kl_penalty(kl, 2.0, 0.1, w))
  # Excess 0.4 and 0; the third state has no advice.
  close(fn(jnp.array([0.5, 0.05, 9.]), jnp.array([1., 1., 0.])), 2 * 0.4 / 2)
  close(fn(jnp.array([0.5]), jnp.array([0.])), 0)


def test_penalty_moves_the_actor_and_not_the_dual():
  x, prior = jnp.array([[0., 0.]]), jnp.array([[2., -2.]])
  def fn(x, dual):
    div = maths.kl(maths.mix(x, prior, jnp.ones(1)), x)
    return maths.kl_penalty(div, dual, 0.0, jnp.ones(1))
  dx, ddual = jax.grad(fn, (0, 1))(x, 1.0)
  assert ddual == 0
  # Descent makes the advised action likelier: the penalty pulls the actor
  # towards the advice, which is why it bounds no harm.
  assert dx[0, 0] < 0 < dx[0, 1]


@BOTH
def test_dual_by_hand(wrap):
  fn = wrap(maths.update_dual)
  close(fn(1.0, 0.5, 0.1, 0.1), 1.04)
  close(fn(0.01, 0.0, 0.1, 1.0), 0.0)
  close(fn(0.0, 0.1, 0.1, 1.0), 0.0)


@BOTH
def test_value_spread_by_hand(wrap):
  fn = wrap(maths.value_spread)
  # On the symlog scale these bins are -1, 0, 1.
  bins = jnp.array([1 - math.e, 0., math.e - 1])
  close(fn(jnp.array([0., 1., 0.]), bins), 0)
  close(fn(jnp.array([.5, 0., .5]), bins), math.log(2))
  close(fn(jnp.array([.25, .5, .25]), bins), math.log(1.5))


def test_value_spread_is_not_ruled_by_the_last_bin():
  x = jnp.linspace(-20, 20, 255)
  bins = jnp.sign(x) * jnp.expm1(jnp.abs(x))
  probs = jnp.zeros(255).at[127].set(1 - 1e-6).at[254].set(1e-6)
  assert maths.value_spread(probs, bins) < 1e-3


@BOTH
def test_disagreement_by_hand(wrap):
  fn = wrap(maths.disagreement)
  # Two actions, two members, two outputs. Variances 1 and 0, then 4 and 4:
  # means 1/2 and 4, of which the actor takes half each.
  preds = jnp.array([[[0., 5.], [2., 5.]], [[1., 0.], [5., 4.]]])
  close(fn(preds, jnp.array([0.5, 0.5])), math.sqrt(0.25 + 2))
  close(fn(preds, jnp.array([1.0, 0.0])), math.sqrt(0.5))
  close(fn(jnp.ones((2, 3, 4)), jnp.array([0.5, 0.5])), 0)


@BOTH
def test_confidence_by_hand(wrap):
  fn = wrap(maths.confidence)
  # Mean (3, 0), or (1.5, -1.5) about its own; members vary by 1 and 0.
  prior, sure = fn(jnp.array([[4., 0.], [2., 0.]]))
  close(prior, [1.5, -1.5])
  close(sure, 2.25 / (2.25 + 0.5))
  prior, sure = fn(jnp.array([[1., -1.], [-1., 1.]]))
  close(prior, [0, 0])
  close(sure, 0)
  close(fn(jnp.zeros((2, 3)))[1], 0)


def test_masked_mean():
  close(maths.masked_mean(jnp.array([1., 2., 3.]), jnp.array([1, 0, 1])), 2)
  close(maths.masked_mean(jnp.array([1., 2.]), jnp.zeros(2)), 0)


@hypothesis.given(logits, logits, st.floats(0, 10), st.booleans())
@hypothesis.settings(max_examples=100, deadline=None)
def test_all_finite_for_extreme_inputs(x, prior, beta, valid):
  x, prior = 30 * x[None], 30 * prior[None]
  valid = jnp.array([valid])
  t = maths.match_temperature(x, prior, valid, 0.5, 3.0)
  assert 0.5 <= float(t) <= 3.0
  mixed = maths.mix(jnp.asarray(x), prior / t, jnp.full(1, beta))
  for out in (mixed, maths.kl(mixed, x), maths.entropy(mixed)):
    assert np.isfinite(out).all()
