"""Plays whole episodes with an agent that does not learn from them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .. import curves

# Above 0 at some step of an episode that is a success.
SUCCESS = 'log/success'
# Actions after which an episode is taken as it is; some tasks never end. More
# than upstream's Atari lets an episode last.
LONGEST = 30_000
# Before the name of an achievement; above 0 from the step that unlocked it.
ACHIEVED = 'log/achievement_'


def play(
    agent: Any, make_env: Callable[[int], Any], episodes: int = 100,
    envs: int = 20, mode: str = 'eval',
    watch: Callable[..., Any] | None = None) -> dict[str, Any]:
  """Plays a fixed number of episodes in each of several environments.

  Each environment plays its own share to the end. Stopping at the first
  so-many finished episodes instead would favour short ones. Episodes end after
  `LONGEST` actions at the latest.

  Args:
    agent: An `embodied.Agent`. Its eval mode gives no advice unless told to.
    make_env: Makes environment number i: make_env(i).
    episodes: Episodes in total, at least 1.
    envs: Environments played side by side, at most one an episode.
    mode: The mode given to the agent's policy.
    watch: Called for each step of an episode that counts, as watch(index,
      env, obs, acts, outs) with one environment's values. `is_last` of obs is
      True as well where an episode is cut.

  Returns:
    `scores`: return of each episode. Shape [episodes], f64.
    `wins`: 1 where the environment said that it was a success, else 0. Shape
      [episodes], f64; None where it says no such thing.
    `lengths`: its actions. Shape [episodes], i64.
    `cut`: episodes that `LONGEST` ended.
    `unlocked`: whether each achievement was unlocked, by name, where the game
      has such; each of shape [episodes], f64.
    `advised`: share of all steps at which the agent had advice.
  """
  envs = min(envs, episodes)
  tally, worlds = Tally(episodes, envs), []
  try:
    for i in range(envs):
      worlds.append(make_env(i))
    carry = agent.init_policy(envs)
    space = {k: v for k, v in worlds[0].act_space.items() if k != 'reset'}
    acts = {k: np.zeros((envs, *v.shape), v.dtype) for k, v in space.items()}
    reset = np.ones(envs, bool)
    while (live := tally.live).any():
      each = [
          env.step({'reset': reset[i], **{k: v[i] for k, v in acts.items()}})
          for i, env in enumerate(worlds)]
      obs = {
          k: np.stack([x[k] for x in each])
          for k in each[0] if not k.startswith('log/')}
      index, reset = tally.add(each, live, obs['is_last'])
      carry, acts, outs = agent.policy(carry, obs, mode)
      if 'lore/valid' in outs:
        tally.steps += (outs['lore/valid'] & live & ~reset).sum(), (
            live & ~reset).sum()
      if watch:
        for i in np.flatnonzero(live).tolist():
          watch(
              int(index[i]), worlds[i], {**each[i], 'is_last': reset[i]}, *(
                  {k: v[i] for k, v in x.items()} for x in (acts, outs)))
    return tally.result()
  finally:
    for env in worlds:
      env.close()


class Tally:
  """What came of episodes that several environments share.

  Args:
    episodes: Episodes in total.
    envs: Environments, at most one an episode.

  Attributes:
    steps: Steps with advice, and all steps. Shape [2], f64.
    cut: Episodes that `LONGEST` ended.
  """

  def __init__(self, episodes: int, envs: int):
    # The first environments play one more where the share is uneven.
    self.share = np.full(envs, episodes // envs)
    self.share[:episodes % envs] += 1
    self.played = np.zeros(envs, int)
    # Of the episodes that are played now.
    self.actions = np.zeros(envs, int)
    self.scores, self.wins = np.zeros(episodes), np.zeros(episodes)
    self.lengths, self.said = np.zeros(episodes, int), True
    self.steps, self.cut = np.zeros(2), 0
    self.unlocked: dict[str, np.ndarray] = {}

  @property
  def live(self) -> np.ndarray:
    """Environments whose episode counts. Shape [envs], bool."""
    return self.played < self.share

  def add(
      self, each: Sequence[Mapping[str, Any]], live: np.ndarray,
      last: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Takes in one step of all.

    Returns:
      The number of each one's episode, and whether it ends here. [envs].
    """
    # Episode k of environment i has number k * envs + i.
    index = self.played * len(each) + np.arange(len(each))
    for i in np.flatnonzero(live).tolist():
      step, k = each[i], index[i]
      self.scores[k] += step['reward']
      self.lengths[k] += not step['is_first']
      self.said = self.said and SUCCESS in step
      self.wins[k] = max(self.wins[k], step.get(SUCCESS, 0) > 0)
      for name in (x for x in step if x.startswith(ACHIEVED)):
        done = self.unlocked.setdefault(
            name.removeprefix(ACHIEVED), np.zeros(len(self.scores)))
        done[k] = max(done[k], step[name] > 0)
    self.actions = np.where([x['is_first'] for x in each], 0, self.actions + 1)
    cut = ~last & (self.actions >= LONGEST)
    self.cut += int((cut & live).sum())
    last = last | cut
    self.played = self.played + last
    return index, last

  def result(self) -> dict[str, Any]:
    return {
        'scores': self.scores, 'wins': self.wins if self.said else None,
        'lengths': self.lengths, 'cut': self.cut, 'unlocked': self.unlocked,
        'advised': float(self.steps[0] / max(1, self.steps[1]))}


def proportion(played: Mapping[str, Any]) -> dict[str, Any]:
  """Summarises what `play` returned.

  Returns:
    `episodes`; `score`, their mean return; `success`, the share of successes,
    and `interval`, Wilson's of 95 %. These are None where the environment
    does not say what a success is. Of a game with achievements also
    `unlocked`, the share of episodes with each, and `crafter_score`, see
    `curves.crafter_score`. Where episodes were cut also `cut`, how many.
  """
  wins, count = played['wins'], len(played['scores'])
  rates = {k: float(v.mean()) for k, v in played['unlocked'].items()}
  return {
      'success': None if wins is None else float(wins.mean()),
      'episodes': count,
      'interval': None if wins is None else list(
          curves.wilson(int(wins.sum()), count)),
      'score': float(played['scores'].mean()),
      **({'cut': played['cut']} if played.get('cut') else {}),
      **({'unlocked': rates,
          'crafter_score': curves.crafter_score([*rates.values()])}
         if rates else {})}


def cuts(results: Sequence[Mapping[str, Any]]) -> list[str]:
  """Returns a note for each kind of an evaluation of which some were cut."""
  return [
      f'Advice {"on" if x["advice"] else "off"}, {x["actions"]}: {words}.'
      for x in results if (words := curves.cut(x))]


class Successes:
  """Tells the logger of each training episode whether it was a success.

  Upstream logs the mean over many episodes only. Sees each step as the replay
  gets it.

  Args:
    tell: Called with 1.0 or 0.0 when an episode ends. Never called where the
      environment does not say what a success is.
  """

  def __init__(self, tell: Callable[[float], Any]):
    self.tell = tell
    self.best: dict[int, float] = {}

  def __call__(self, tran: Mapping[str, Any], worker: int = 0) -> None:
    """Takes in a step, with its `log/` entries."""
    if SUCCESS not in tran:
      return
    before = 0.0 if tran['is_first'] else self.best.get(worker, 0.0)
    self.best[worker] = max(before, float(tran[SUCCESS] > 0))
    if tran['is_last']:
      self.tell(self.best.pop(worker))
