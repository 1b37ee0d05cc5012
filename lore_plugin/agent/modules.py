"""State of the method that lives in the agent's checkpoint."""

import jax
import jax.numpy as jnp
import ninjax as nj
import optax

from . import maths
from ..upstream import bases

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


class Ensemble(nj.Module):
  """Several small networks that learn the same and differ where it is unknown.

  Each has one hidden layer and starts from other weights. What they all saw
  often they agree on; the variance between them is what they have yet to
  learn, not the noise of the data. Inputs get no gradient, and the parameters
  belong to no optimizer but `Trainer`'s.
  """

  members: int = 5
  units: int = 64

  def __init__(self, outputs):
    self.outputs = outputs

  def __call__(self, x, action=None):
    """Predicts.

    Args:
      x: Input. Shape [..., F].
      action: Second input, or None. Shape [..., A]; leading axes broadcast
        with those of x.

    Returns:
      Prediction of each member. Shape [..., K, N], f32.
    """
    count, units = self.members, self.units
    x = sg(f32(x))
    # Members side by side in one matrix, which multiplies x once.
    hidden = x @ self._weights('inner', (x.shape[-1], count * units))
    if action is not None:
      shape = (action.shape[-1], count * units)
      hidden += sg(f32(action)) @ self._weights('action', shape)
    hidden += self.value('offset', jnp.zeros, (count * units,), f32)
    hidden = jax.nn.silu(hidden).reshape((*hidden.shape[:-1], count, units))
    outer = self._weights('outer', (count, units, self.outputs))
    bias = self.value('bias', jnp.zeros, (count, self.outputs), f32)
    return jnp.einsum('...ku,kun->...kn', hidden, outer) + bias

  def error(self, x, target, weight, action=None):
    """Squared error, summed over N and averaged over rows and members.

    Args:
      x, action: As above.
      target: What each member should predict. Shape [..., N], f32.
      weight: Which rows count. Shape [...], f32.

    Returns:
      Loss; 0 where no row counts. Shape (), f32.
    """
    error = self(x, action) - sg(f32(target))[..., None, :]
    return maths.masked_mean(jnp.square(error).sum(-1).mean(-1), weight)

  def _weights(self, name, shape):
    def make():
      return jax.random.normal(nj.seed(), shape, f32) * shape[-2] ** -0.5
    return self.value(name, make)


class Trainer(nj.Module):
  """Trains a module by Adam, apart from upstream's optimizer."""

  rate: float = 1e-3

  def __init__(self, module):
    self.opt = bases.Optimizer(
        module, optax.adam(self.rate), summary_depth=1, name='adam')

  def __call__(self, lossfn, where=True):
    """Takes one step on lossfn(), which returns a number of shape (), f32.

    Args:
      lossfn: Differentiable in the parameters of the module.
      where: Whether to, the same on all devices. A step that is left out
        leaves the moments of Adam alone as well, and takes no time.

    Returns:
      Loss; 0 where no step was taken. Shape (), f32.
    """
    step = lambda: self.opt(lossfn)['adam/loss']
    return step() if where is True else nj.cond(where, step, lambda: f32(0))


def pmean(x):
  """Averages over data-parallel devices where each sees only its shard."""
  axes = bases.get_data_axes()
  return jax.lax.pmean(x, axes) if axes else x
