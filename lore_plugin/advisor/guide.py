"""From answers and experience to one choice, pursued step by step."""

from collections.abc import Sequence

import numpy as np

from . import ground
from . import table as tablelib
from .experience import Experience


class Guide:
  """Takes a choice in each environment, and turns it into action logits.

  Args:
    table: What is known of states and questions.
    experience: Learns from what choices led to.
  """

  def __init__(self, table: tablelib.Table, experience: Experience):
    self.table = table
    self.experience = experience
    # The actions that the choice of each environment asks for now.
    self._towards: dict[int, tuple[int, ...]] = {}
    # Logits by what they depend on.
    self._logits: dict[tuple, np.ndarray] = {}

  def step(
      self, envs: Sequence[int], reward: np.ndarray, is_first: np.ndarray,
      is_last: np.ndarray) -> None:
    """Takes in what the last actions brought. B entries each."""
    for i, env in enumerate(envs):
      if is_first[i]:
        self.experience.begin(env)
      else:
        self.experience.step(env, float(reward[i]), bool(is_last[i]))

  def lookup(
      self, states: np.ndarray, envs: Sequence[int], follow: np.ndarray,
      prior: np.ndarray, valid: np.ndarray) -> None:
    """Writes the logits of choices where these are to be followed.

    Args:
      states: Descriptions as encoded. Shape [B, N], u8.
      envs: Numbers of the environments; B entries.
      follow: Whether the advice is followed. Shape [B], bool.
      prior: What the answers alone advise; changed. Shape [B, A], f32.
      valid: Whether there is advice. Shape [B], bool.
    """
    for i, data in enumerate(tablelib.split(states)):
      env = envs[i]
      self._towards[env] = ()
      if not (follow[i] and valid[i]):
        self.experience.leave(env)
        continue
      situation = self.table.situation(data)
      question, desc = situation.question, situation.description
      words = question.query.candidates
      ways = {
          x.name: y for x, y in zip(desc.options, ground.legal(desc)) if y}
      can = [x for x in words if x in ways]
      if not can:
        self.experience.leave(env)
        continue
      choice = self.experience.choose(
          env, question.key, words, can, self._scores(question))
      self._towards[env] = ways[choice]
      prior[i] = self._ground(desc, ways[choice])

  def pursued(self, env: int) -> tuple[str, str] | None:
    """Returns an environment's question and the choice pursued, if any."""
    episode = self.experience.running.get(env)
    now = episode.pursuits[-1] if episode and episode.pursuits else None
    return (now.question, now.choice) if now and now.question else None

  def did(self, envs: Sequence[int], actions: np.ndarray) -> None:
    """Takes note of the actions taken. B entries, and shape [B], ints."""
    for env, action in zip(envs, actions):
      self.experience.did(env, int(action) in self._towards.get(env, ()))

  def _scores(self, question):
    """Returns the scores of whom we prefer, without their bias; or None."""
    if not self.table.known(question):
      return None
    rank = min(question.replies)
    return ground.calibrate(
        question.query.candidates, question.replies[rank],
        self.table.bias[rank])

  def _ground(self, desc, actions):
    key = desc.actions, actions
    if key not in self._logits:
      self._logits[key] = ground.to_actions(
          [1.0], [actions], ground.advisable(desc),
          self.table.smoothing).astype(np.float32)
    return self._logits[key]
