"""State of the method that lives in the agent's checkpoint."""

import embodied.jax.internal
import jax
import jax.numpy as jnp
import ninjax as nj

f32 = jnp.float32
sg = jax.lax.stop_gradient


class Moments(nj.Module):
  """Running mean and deviation of a signal.

  Updates weigh the same, down to a least weight `rate`: 0 remembers all of
  training, so that a signal that falls over its course ends below the mean
  instead of dragging it along; more forgets, so that only differences between
  states count. They start as if `count` batches of the given mean and
  deviation had been seen.
  """

  rate: float = 0.0
  count: float = 0.0

  def __init__(self, mean=0.0, std=0.0):
    self.seen = nj.Variable(jnp.full, (), self.count, f32, name='seen')
    self.mean = nj.Variable(jnp.full, (), mean, f32, name='mean')
    self.sqrs = nj.Variable(
        jnp.full, (), mean ** 2 + std ** 2, f32, name='sqrs')

  def update(self, x):
    """Takes in a batch. Shape [...], f32."""
    x = sg(f32(x))
    rate = jnp.maximum(1 / (self.seen.read() + 1), self.rate)
    for var, value in ((self.mean, x), (self.sqrs, jnp.square(x))):
      var.write(var.read() + rate * (pmean(value.mean()) - var.read()))
    self.seen.write(self.seen.read() + 1)

  def stats(self):
    """Returns mean and deviation, each of shape ()."""
    mean = self.mean.read()
    var = jax.nn.relu(self.sqrs.read() - jnp.square(mean))
    return mean, jnp.sqrt(var)


class Scalar(nj.Module):
  """One number that training moves: a multiplier or a temperature."""

  def __init__(self, init):
    self.var = nj.Variable(jnp.full, (), init, f32, name='value')

  def __call__(self):
    return self.var.read()

  def set(self, value, where=True):
    """Replaces the number where the condition holds."""
    self.var.write(jnp.where(where, sg(f32(value)), self.var.read()))


def pmean(x):
  """Averages over data-parallel devices where each sees only its shard."""
  axes = embodied.jax.internal.get_data_axes()
  return jax.lax.pmean(x, axes) if axes else x
