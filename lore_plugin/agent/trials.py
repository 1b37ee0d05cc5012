"""Parts of the reference code that are on trial; each is off by default.

They stand apart so that one that gains nothing can be taken out again.
"""

import contextlib

import jax
import jax.numpy as jnp
import ninjax as nj

from . import columns
from . import modules

f32 = jnp.float32
sg = jax.lax.stop_gradient


class Trials:
  """Warm-up, hysteresis and drop-out of beta, and advice in imagination.

  Args:
    lore: The section `lore` of the configuration.
  """

  def __init__(self, lore):
    self.gate = lore.gate
    self.share = lore.imagination.beta / max(lore.gate.beta_max, 1e-9)
    if self.gate.warmup:
      self.updates = modules.Scalar(0.0, name='lore_updates')

  def count(self):
    """Takes note of an update."""
    if self.gate.warmup:
      self.updates.set(self.updates() + 1)

  def warm(self, beta):
    """Lets beta rise from 0 over the first updates. Shape [...], f32."""
    if not self.gate.warmup:
      return beta
    return beta * jnp.minimum(self.updates() / self.gate.warmup, 1)

  def lag(self, tau, obs):
    """Moves the threshold away from where the gate was. Shape [...], f32."""
    if not self.gate.hysteresis:
      return tau
    return tau - self.gate.hysteresis * obs[columns.OPEN]

  def opened(self, info):
    """Tells the host where the gate was open, for the next step."""
    if not self.gate.hysteresis:
      return {}
    is_open = jnp.where(info['u'] > info['tau'], f32(1), f32(-1))
    return {columns.OPEN: is_open}

  def drop(self, beta):
    """Ignores a share of advice at random. Shape [...], f32."""
    if not self.gate.dropout:
      return beta
    return beta * jax.random.bernoulli(
        nj.seed(), 1 - self.gate.dropout, beta.shape)

  @contextlib.contextmanager
  def imagination(self, agent, obs):
    """Lets learned advice into imagination, if asked to.

    Args:
      agent: The `LoreAgent`.
      obs: Advice of the replayed states, by column. Shapes [B, T, ...].
    """
    if not self.share:
      yield
      return
    def mixer(inp, bdims, dist):
      # No state is like another there: trust and proof are those of now.
      shape = inp.shape[:bdims]
      state = {
          k: jnp.full(shape, obs[k].mean())
          for k in (columns.TRUST, columns.UPLIFT)}
      state[columns.OPEN] = jnp.zeros(shape)
      state[columns.VALID] = jnp.zeros(shape, bool)
      state[columns.PRIOR] = jnp.zeros((*shape, agent.actions))
      state = agent.student.fill(sg(inp), state)
      info = agent.open_gate(agent.signals(inp, bdims, dist.logits), state)
      mixed, _ = agent.mix(dist.logits, self.share * info['beta'], state)
      return agent.pol.replace(dist, mixed)
    with agent.pol.mixing(mixer):
      yield
