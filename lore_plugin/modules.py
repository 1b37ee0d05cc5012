"""State of the method that lives in the agent's checkpoint."""

import embodied.jax.internal
import jax
import jax.numpy as jnp
import ninjax as nj

f32 = jnp.float32
sg = jax.lax.stop_gradient


class Moments(nj.Module):
  """Mean and deviation of everything seen so far.

  Every update has the same weight, so that a quantity that falls over the
  course of training falls below its mean instead of dragging it along.
  """

  def __init__(self):
    self.count = nj.Variable(jnp.zeros, (), f32, name='count')
    self.mean = nj.Variable(jnp.zeros, (), f32, name='mean')
    self.sqrs = nj.Variable(jnp.zeros, (), f32, name='sqrs')

  def update(self, x):
    """Takes in a batch. Shape [...], f32."""
    x = sg(f32(x))
    rate = 1 / (self.count.read() + 1)
    for var, value in ((self.mean, x), (self.sqrs, jnp.square(x))):
      var.write(var.read() + rate * (pmean(value.mean()) - var.read()))
    self.count.write(self.count.read() + 1)

  def stats(self):
    """Returns mean and deviation; 0 and 0 before the first update."""
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
