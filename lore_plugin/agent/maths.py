"""LoRe's equations as pure functions of arrays.

Duals, temperatures and moments are arguments, so that every function can be
tested by hand. A is the number of actions; leading axes are free. Logits are
natural and unnormalised. (1) to (5) number the equations of
docs/method.md.
"""

import jax
import jax.numpy as jnp

f32 = jnp.float32
sg = jax.lax.stop_gradient


def entropy(logits):
  """Returns the entropy of a categorical distribution.

  Args:
    logits: Shape [..., A], f32.

  Returns:
    Entropy in nats, in [0, log A]. Shape [...], f32.
  """
  logp = jax.nn.log_softmax(logits, -1)
  return -(jnp.exp(logp) * logp).sum(-1)


def kl(logits, other):
  """Returns KL(softmax logits || softmax other).

  Args:
    logits: Shape [..., A], f32.
    other: Shape [..., A], f32.

  Returns:
    Divergence in nats, at least 0 up to rounding. Shape [...], f32.
  """
  logp = jax.nn.log_softmax(logits, -1)
  logq = jax.nn.log_softmax(other, -1)
  return (jnp.exp(logp) * (logp - logq)).sum(-1)


def mix(logits, prior, beta):
  """Adds the advisor's logits to the actor's.

  Source: LoRe eq. (1). Neither the prior nor the gate gets a gradient.

  Args:
    logits: Actor logits. Shape [..., A], f32.
    prior: Tempered advisor logits. Shape [..., A], f32.
    beta: Gate in [0, beta_max]; 0 returns the actor. Shape [...], f32.

  Returns:
    Mixed logits. Shape [..., A], f32.
  """
  return logits + sg(beta)[..., None] * sg(prior)


def match_temperature(logits, prior, valid, low, high, steps=16):
  """Finds the temperature at which the prior is closest to the actor.

  Source: LoRe eq. (2), one temperature for all states with advice:

      T = argmin_t  mean_s KL( softmax logits_s || softmax(prior_s / t) )

  In s = 1/t the objective is convex, as a log-partition function less a linear
  term. Its slope is the prior's expectation under softmax(s * prior) less its
  expectation under the actor; bisection on the slope's sign halves the
  bracket of s in each step. Where the actor is nearly uniform the slope is
  positive down to s = 0, so the answer is the bracket's upper end: the
  advice is flattened the most when the actor knows the least.

  Args:
    logits: Actor logits. Shape [..., A], f32.
    prior: Advisor logits. Shape [..., A], f32.
    valid: Which states carry advice. Shape [...], bool.
    low: Least temperature, above 0.
    high: Greatest temperature, at least low.
    steps: Halvings of the bracket.

  Returns:
    Temperature in [low, high]; high where no state is valid. Shape (), f32.
  """
  prior = sg(f32(prior))
  probs = jax.nn.softmax(sg(f32(logits)), -1)
  weight = f32(valid)
  target = (probs * prior).sum(-1)

  def slope(inverse):
    expect = (jax.nn.softmax(inverse * prior, -1) * prior).sum(-1)
    return (weight * (expect - target)).sum()

  ends = (f32(1 / high), f32(1 / low))
  lo, hi = jax.lax.fori_loop(
      0, steps, _halve(lambda x: slope(x) >= 0), ends)
  result = jnp.where(slope(ends[1]) <= 0, low, 2 / (lo + hi))
  return f32(jnp.where(slope(ends[0]) >= 0, high, result))


def combine(parts, weights):
  """Weighs normalised uncertainties into one.

  Source: LoRe eq. (3), u = w_H H + w_V Var[V] + w_D Dis.

  Args:
    parts: Dict of normalised uncertainties. Shape [...], f32.
    weights: Dict with a float for each of them.

  Returns:
    Uncertainty u. Shape [...], f32.
  """
  assert parts.keys() == weights.keys(), (parts.keys(), weights.keys())
  return sum(weights[k] * f32(v) for k, v in parts.items())


def gate(u, beta_max, kappa, tau):
  """Opens with the agent's uncertainty.

  Source: LoRe eq. (3), beta = beta_max * sigmoid(kappa * (u - tau)).

  Args:
    u: Uncertainty, about standard normal over states. Shape [...], f32.
    beta_max: Ceiling, at least 0.
    kappa: Steepness, at least 0.
    tau: The uncertainty at which the gate is half open.

  Returns:
    Gate in [0, beta_max]. Shape [...], f32.
  """
  return beta_max * jax.nn.sigmoid(kappa * (f32(u) - tau))


def bound(beta, logits, prior, limit, steps=24):
  """Scales the gate down until the mix is within a divergence of the actor.

  KL(pi_mix || pi_wm) rises with beta from 0, so bisection finds for each state
  the greatest beta within the limit. Of the last bracket it takes the lower
  end, which never exceeds the limit.

  Args:
    beta: Gate, at least 0. Shape [...], f32.
    logits: Actor logits. Shape [..., A], f32.
    prior: Tempered advisor logits. Shape [..., A], f32.
    limit: Greatest divergence in nats, at least 0. Shape () or [...].
    steps: Halvings; the result is exact to beta / 2^steps and 1e-5 nats.

  Returns:
    Gate in [0, beta], without gradient. Shape [...], f32.
  """
  beta, logits, prior = sg((f32(beta), f32(logits), f32(prior)))
  # Single precision errs by some 1e-6 nats, and not alike in every program.
  # Below that limit no gate is sure to be within it but a shut one.
  limit = limit - 1e-5
  above = lambda x: kl(mix(logits, prior, x), logits) > limit
  ends = (jnp.zeros_like(beta), beta)
  lo, _ = jax.lax.fori_loop(0, steps, _halve(above), ends)
  return sg(jnp.where(above(beta), lo, beta))


def _halve(above):
  """Returns the body of a bisection for where above(x) becomes true."""
  def body(_, bracket):
    lo, hi = bracket
    mid = (lo + hi) / 2
    result = above(mid)
    return jnp.where(result, lo, mid), jnp.where(result, mid, hi)
  return body


def schedule(progress, start, end):
  """Moves a number from one value to another as something progresses.

  Args:
    progress: 0 before, 1 after; beyond that it has no effect. Shape (), f32.
    start: Value before.
    end: Value after.

  Returns:
    Value between the two. Shape (), f32.
  """
  return start + (end - start) * jnp.clip(f32(progress), 0, 1)


def normalise(value, mean, std, floor, limit=5.0):
  """Expresses a value in deviations from a running mean.

  Args:
    value: Shape [...], f32.
    mean: Running mean. Shape (), f32.
    std: Running deviation. Shape (), f32.
    floor: Least deviation to divide by, above 0, in the value's unit. Without
      it, rounding noise around a constant would count as uncertainty.
    limit: Bound on the result's magnitude.

  Returns:
    Normalised value in [-limit, limit]. Shape [...], f32.
  """
  return jnp.clip((f32(value) - mean) / jnp.maximum(std, floor), -limit, limit)


def kl_penalty(value, dual, target, weight):
  """Charges the divergence above its target.

  Source: LoRe eq. (4), L_KL = lambda * relu(KL - delta), averaged over the
  states with advice. The dual gets no gradient.

  Args:
    value: KL(pi_mix || pi_wm) in nats. Shape [...], f32.
    dual: Multiplier lambda, at least 0. Shape (), f32.
    target: delta in nats, at least 0.
    weight: 0 for a state without advice, else how far it is trusted, in
      [0, 1]. Shape [...], f32.

  Returns:
    Loss; 0 where no state has advice. Shape (), f32.
  """
  return sg(dual) * _weighted(jax.nn.relu(value - target), weight)


def distil(advice, logits, weight):
  """Draws the actor towards the advice.

  KL(sg(softmax advice) || pi_wm), summed with the weights and divided by the
  number of weighted states: a small weight stays small.

  Args:
    advice: Advisor logits, the target. Shape [..., A], f32.
    logits: Actor logits. Shape [..., A], f32.
    weight: In [0, 1]; 0 for a state without advice. Shape [...], f32.

  Returns:
    Loss in nats; 0 where no state has weight. Shape (), f32.
  """
  return _weighted(kl(sg(advice), logits), weight)


def _weighted(value, weight):
  """Returns the weighted sum over the number of states that have weight.

  Unlike `masked_mean`, weights of a half make half as much of it.
  """
  return (value * weight).sum() / jnp.maximum((weight > 0).sum(), 1)


def update_dual(dual, value, target, rate):
  """Moves the multiplier along its gradient and projects it.

  Source: LoRe eq. (5), lambda <- [lambda + eta * (KL - delta)]_+.

  Args:
    dual: Multiplier lambda, at least 0. Shape (), f32.
    value: Mean KL(pi_mix || pi_wm) in nats. Shape (), f32.
    target: delta in nats.
    rate: Step size eta, at least 0.

  Returns:
    New multiplier, at least 0. Shape (), f32.
  """
  return jax.nn.relu(dual + rate * (sg(value) - target))


def value_spread(probs, bins):
  """Returns the spread of a critic's distribution on the symlog scale.

  Upstream's critic spreads its bins to +-exp(20), where one millionth of
  probability in the last bin outweighs everything else. On the symlog scale
  the bins lie evenly in [-20, 20]. There the variance still varies over
  orders of magnitude between states; its logarithm does not.

  Args:
    probs: Probability of each bin. Shape [..., N], f32.
    bins: Return that each bin stands for. Shape [N], f32.

  Returns:
    log(1 + variance in squared symlog units), in [0, 6]. Shape [...], f32.
  """
  x = jnp.sign(bins) * jnp.log1p(jnp.abs(bins))
  mean = (probs * x).sum(-1, keepdims=True)
  return jnp.log1p((probs * jnp.square(x - mean)).sum(-1))


def disagreement(preds, weights):
  """Returns how far the members of an ensemble are apart.

  Source: Sekar et al. 2020, Planning to Explore via Self-Supervised World
  Models, eq. (5): the variance of one-step predictions over the members,
  averaged over what is predicted. Here it is also averaged over the actions
  that the actor would take, and its root is taken, which brings states of
  different magnitude closer together.

  Args:
    preds: Predictions of K members for each action. Shape [..., A, K, N], f32.
    weights: Probability of each action. Shape [..., A], f32.

  Returns:
    Deviation in the unit of the predictions, at least 0. Shape [...], f32.
  """
  spread = preds.var(-2).mean(-1)
  return jnp.sqrt((weights * spread).sum(-1))


def confidence(preds):
  """Tells the advice that an ensemble predicts from what it does not know.

  Args:
    preds: Predicted advisor logits of K members. Shape [..., K, A], f32.

  Returns:
    prior: Mean over members, of mean 0 over actions. Shape [..., A], f32.
    sure: Share of the variance that members have in common, in [0, 1]: that of
      their mean over actions, of it and of that between members. Shape [...].
  """
  prior = preds.mean(-2)
  prior -= prior.mean(-1, keepdims=True)
  signal = jnp.square(prior).mean(-1)
  noise = preds.var(-2).mean(-1)
  return prior, signal / jnp.maximum(signal + noise, 1e-9)


def masked_mean(value, weight):
  """Returns the weighted mean over all axes, or 0 if no weight is left."""
  weight = f32(weight)
  return (value * weight).sum() / jnp.maximum(weight.sum(), 1.0)
