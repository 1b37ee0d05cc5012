"""What learns beside upstream's agent, from replayed states, without touching
it: no gradient of theirs reaches it, and none of its own random numbers."""

import jax
import jax.numpy as jnp
import numpy as np

from . import columns
from . import maths
from . import modules

f32 = jnp.float32

# Numbers that stand for the next latent state where it is predicted.
SKETCH = 16
# Steps of a replayed sequence of which one is looked at where only averages
# count: neighbours resemble each other, and every state comes by again.
SPARSE = 4


class OneStep:
  """An ensemble that predicts the next latent state, and how it disagrees.

  The target is the probability of each class of the next stochastic latent:
  between 0 and 1, so that its scale stays while the world model changes, which
  the recurrent state's does not, and free of sampling noise.

  Args:
    latent: Size N of the stochastic latent state.
    actions: Number of actions A.
  """

  def __init__(self, latent, actions):
    self.actions = actions
    # Random sums of what is predicted have the variance of it all, and are
    # as quick to predict as they are few. Always the same ones.
    self.sketch = np.float32(np.random.default_rng(0).normal(
        size=(latent, SKETCH)) / latent ** 0.5)
    self.ensemble = modules.Ensemble(SKETCH, name='lore_ensemble')
    self.trainer = modules.Trainer(self.ensemble, name='lore_train_ensemble')

  def disagreement(self, inp, logits):
    """Returns it for the actions that the actor would take.

    Args:
      inp: Features. Shape [..., F].
      logits: Actor logits. Shape [..., A].

    Returns:
      Deviation of the sketch. Shape [...], f32.
    """
    # One row for each action, before the axes of the batch are known.
    preds = self.ensemble(inp[..., None, :], jnp.eye(self.actions))
    return maths.disagreement(preds, jax.nn.softmax(logits, -1))

  def train(self, feat2tensor, feat, prevact, reset):
    """Takes a step on replayed sequences. Returns the loss, of shape ().

    Args:
      feat2tensor: Makes features [..., F] of latent states.
      feat: Latent states. Shapes [B, T, ...].
      prevact: Action that led to each. Shape [B, T], i32.
      reset: Whether an episode begins there. Shape [B, T], bool.
    """
    now = jax.tree.map(lambda x: x[:, :-1:SPARSE], feat)
    after = jax.tree.map(lambda x: x[:, 1::SPARSE], (feat, prevact, reset))
    feat, prevact, reset = after
    target = jax.nn.softmax(f32(feat['logit']), -1)
    target = target.reshape((*reset.shape, -1)) @ self.sketch
    return self.trainer(lambda: self.ensemble.error(
        feat2tensor(now), target, f32(~reset),
        jax.nn.one_hot(prevact, self.actions)))


class Student:
  """A network that learns the advisor's logits from latent states.

  Args:
    actions: Number of actions A.
    confidence: Share of its variance that its members must have in common
      where it gives advice, in [0, 1].
  """

  def __init__(self, actions, confidence):
    self.confidence = confidence
    self.ensemble = modules.Ensemble(actions, name='lore_prior')
    self.trainer = modules.Trainer(self.ensemble, name='lore_train_prior')

  def fill(self, inp, obs):
    """Adds learned advice where there is none and the student is sure.

    Args:
      inp: Features. Shape [..., F].
      obs: Advice by column, see `columns.split`. Shapes [...].
    """
    prior, sure = maths.confidence(self.ensemble(inp))
    valid = obs[columns.VALID]
    filled = ~valid & (obs[columns.TRUST] > 0) & (sure >= self.confidence)
    prior = jnp.where(filled[..., None], prior, obs[columns.PRIOR])
    return {
        **obs, columns.PRIOR: prior, columns.VALID: valid | filled,
        columns.FILLED: filled, columns.SURE: sure}

  def train(self, feat2tensor, feat, obs):
    """Takes a step on replayed sequences [B, T]. Returns the loss, ()."""
    feat, prior, valid = sparse(
        (feat, obs[columns.PRIOR], obs[columns.VALID]))
    return self.trainer(lambda: self.ensemble.error(
        feat2tensor(feat), prior, f32(valid)))


def sparse(tree):
  """Returns one of `SPARSE` steps of replayed sequences, [B, T, ...]."""
  return jax.tree.map(lambda x: x[:, ::SPARSE], tree)
