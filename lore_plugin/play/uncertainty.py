"""Measures how well uncertainty predicts where advice helps.

  python -m lore_plugin.play.uncertainty LOGDIR [--stages 1000 3000 6000 9000]
      [--every 4] [--KEY VALUE ...]

Trains as `--configs minigrid lore` does, with the environments in the same
process. At every fourth step of each environment it notes the parts of u, the
actor's probabilities and the stored advice, and lets the planner judge on the
full grid, by exact distances, what each action is worth. Advice helps in a
state by as many steps as its best action is closer to the goal than the
actor's own actions are on average:

  gain(s) = sum_a pi_wm(a | s) d(s, a) - d(s, argmax l_llm),
  d(s, a) = 1 + steps from the state that a leads to

For each stage of training it prints, for each part, Spearman's rank
correlation with the gain and the area under the ROC curve for `gain > half a
step`, with 95 % intervals by a bootstrap over episodes, and writes
LOGDIR/uncertainty.json. The advice is judged whether or not the agent followed
it; with --lore.gate.beta_max 0 the agent never does.
"""

import argparse
import contextlib
import json
import os
import pathlib
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ..advisor import ground
from ..agent import advised
from .. import config as configlib
from .. import errors
from .. import launch
from .. import upstream
from ..worlds.minigrid import env as minigrid
from . import evaluate
from . import planner

PARTS = ('entropy', 'value', 'disagreement')
# Weight enough for all parts to be computed, too little to move the gate.
FLAGS = [
    '--configs', 'minigrid', 'lore', '--run.debug', 'True',
    '--lore.gate.value', '1e-9', '--lore.gate.disagreement', '1e-9']
# Half a step of distance.
HELPS = 0.5
FAR = 1000.0


def distances(env: minigrid.MiniGrid) -> np.ndarray:
  """Returns one plus the distance after each action. Shape [A], f64.

  From where no way leads to success it is `FAR`.
  """
  layout, state = planner.read(env)
  result = []
  for action in range(int(env.act_space['action'].high)):
    # Beyond the planner's actions lies `done`, which does nothing.
    after, ends = (state, False) if action not in planner.ACTIONS else (
        planner.advance(layout, state, action))
    left = 0 if ends else None if after is None else (
        planner.plan(layout, after)[1])
    result.append(1 + (FAR if left is None else left))
  return np.array(result, float)


def gain(logits: np.ndarray, prior: np.ndarray, dists: np.ndarray) -> float:
  """Returns by how many steps the advised action beats the actor's own.

  Args:
    logits: Actor logits. Shape [A].
    prior: Advisor logits; ties are shared. Shape [A].
    dists: One plus the distance after each action. Shape [A].
  """
  probs = np.exp(logits - logits.max())
  best = ground.foremost(prior)
  return float((probs * dists).sum() / probs.sum() - dists[best].mean())


def ranks(values: np.ndarray) -> np.ndarray:
  """Returns the rank of each value from 1, ties at their mean. Shape [N]."""
  _, inverse, counts = np.unique(
      values, return_inverse=True, return_counts=True)
  last = np.cumsum(counts)
  return (last - (counts - 1) / 2)[inverse]


def spearman(x: np.ndarray, y: np.ndarray) -> float:
  """Returns the rank correlation in [-1, 1]; NaN where one is constant."""
  x, y = ranks(x), ranks(y)
  spread = x.std() * y.std()
  return float(np.mean((x - x.mean()) * (y - y.mean())) / spread) if (
      spread > 0) else float('nan')


def auroc(x: np.ndarray, label: np.ndarray) -> float:
  """Returns how often x is greater where the label is true; ties count half.

  Args:
    x: Shape [N].
    label: Shape [N], bool.

  Returns:
    Area under the ROC curve in [0, 1]; NaN if there is only one class.
  """
  yes = int(label.sum())
  no = len(label) - yes
  if not yes or not no:
    return float('nan')
  return float((ranks(x)[label].sum() - yes * (yes + 1) / 2) / (yes * no))


def summarise(
    rows: Sequence[Mapping[str, Any]], stages: Iterable[int], draws: int = 300,
    seed: int = 0) -> list[dict[str, Any]]:
  """Compares each part of u with the gain, stage by stage.

  Args:
    rows: Dicts as `Watched` collects them.
    stages: Ends of the stages in environment steps, rising.
    draws: Bootstrap draws, of whole episodes.
    seed: Of these draws.

  Returns:
    A list with a dict for each stage.
  """
  result, start = [], 0
  rng = np.random.default_rng(seed)
  for end in stages:
    part = [x for x in rows if start <= x['step'] < end]
    stage: dict[str, Any] = {'from': start, 'to': end, 'states': len(part)}
    result.append(stage)
    start = end
    if len(part) < 2:
      continue
    gains = np.array([x['gain'] for x in part])
    label = gains > HELPS
    names, episode = np.unique(
        [x['episode'] for x in part], return_inverse=True)
    members = [np.flatnonzero(episode == i) for i in range(len(names))]
    resamples = [
        np.concatenate([members[i] for i in rng.integers(
            0, len(names), len(names))]) for _ in range(draws)]
    stage.update(
        episodes=len(names), gain=float(gains.mean()),
        helps=float(label.mean()), harms=float((gains < -HELPS).mean()))
    for name, values in signals(part).items():
      stage[name] = {
          'spearman': spearman(values, gains),
          'spearman_interval': interval(
              [spearman(values[i], gains[i]) for i in resamples]),
          'auroc': auroc(values, label),
          'auroc_interval': interval(
              [auroc(values[i], label[i]) for i in resamples])}
  return result


def signals(rows: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
  """Returns each part of u, u, and u with the disagreement added."""
  found = {k: np.array([x[k] for x in rows]) for k in (*PARTS, 'u')}
  gap = found['disagreement']
  found['u_and_disagreement'] = (
      found['u'] + 0.5 * (gap - gap.mean()) / max(gap.std(), 1e-9))
  return found


def interval(values: Sequence[float] | np.ndarray) -> list[float]:
  values = np.array(values)
  values = values[np.isfinite(values)]
  return [float(x) for x in np.percentile(values, [2.5, 97.5])] if (
      len(values)) else [float('nan')] * 2


class Watched:
  """Stands between upstream's loop and the agent, and takes notes.

  Args:
    agent: An `AdvisedAgent` whose policy shows its logits.
    worlds: The environments by number.
    every: Steps of an environment from one note to the next.
    note: Called with a dict about one state.
  """

  def __init__(
      self, agent: Any, worlds: Mapping[int, Any], every: int,
      note: Callable[[dict[str, Any]], Any]):
    self.agent = agent
    self.worlds = worlds
    self.every = every
    self.note = note
    self.steps = 0
    self.episodes: dict[int, int] = {}

  def __getattr__(self, name: str) -> Any:
    return getattr(self.__dict__['agent'], name)

  def policy(
      self, carry: Any, obs: Mapping[str, Any],
      mode: str = 'train') -> tuple[Any, Any, dict[str, Any]]:
    states, first, last = (
        obs[k] for k in (advised.STATE, 'is_first', 'is_last'))
    for i in np.flatnonzero(first).tolist():
      self.episodes[i] = self.episodes.get(i, 0) + 1
    carry, acts, outs = self.agent.policy(carry, obs, mode)
    outs = dict(outs)
    logits = outs.pop(evaluate.LOGITS_WM)
    outs.pop(evaluate.LOGITS_MIX)
    self.steps += len(states)
    if self.steps // len(states) % self.every == 0:
      # Also in episodes of the control group.
      prior, valid = self.agent.advisor.lookup(states)
      for i in np.flatnonzero(valid & ~last).tolist():
        dists = distances(unwrap(self.worlds[i]))
        if dists.min() < FAR:
          self.note({
              'step': self.steps, 'episode': f'{i}-{self.episodes[i]}',
              'gain': gain(logits[i], prior[i], dists),
              **{k: float(outs[f'log/lore_{k}'][i]) for k in ('u', 'beta')},
              **{k: float(outs[f'log/lore_u_{k}'][i]) for k in PARTS}})
    return carry, acts, outs


def unwrap(env: Any) -> minigrid.MiniGrid:
  """Returns the MiniGrid task inside upstream's wrappers."""
  while not isinstance(env, minigrid.MiniGrid):
    env = env.env
  return env


def measure(
    logdir: str | os.PathLike, stages: Sequence[int], every: int,
    note: Callable[[dict[str, Any]], Any], flags: Sequence[str] = ()) -> None:
  """Trains, and calls note with a dict about each judged state."""
  found = upstream.check()
  config = configlib.resolve(
      [*FLAGS, '--logdir', logdir, '--run.steps', max(stages), *flags],
      configlib.load(found.configs))
  worlds, kept = {}, []
  def make_env(config, index, **overrides):
    worlds[index] = launch.make_env(config, index, **overrides)
    return worlds[index]
  def make_agent(config):
    kept.append(Watched(evaluate.make_agent(config), worlds, every, note))
    return kept[0]
  upstream.run(
      config, make_agent=make_agent, make_env=make_env,
      make_logger=launch.make_logger)
  kept[0].close()


def table(result: Iterable[Mapping[str, Any]]) -> str:
  """Formats a result for the terminal."""
  lines = []
  for stage in result:
    lines.append(
        f'steps {stage["from"]:,} to {stage["to"]:,}: {stage["states"]} states'
        + (f', advice helps in {stage["helps"]:.0%}, harms in '
           f'{stage["harms"]:.0%}, gain {stage["gain"]:+.2f} steps'
           if 'gain' in stage else ''))
    for name, x in stage.items():
      if isinstance(x, dict):
        cells = [
            '{:+.2f} [{:+.2f}, {:+.2f}]'.format(x[k], *x[f'{k}_interval'])
            for k in ('spearman', 'auroc')]
        lines.append(f'  {name:<20} rank correlation {cells[0]:<22} '
                     f'AUROC {cells[1]}')
  return '\n'.join(lines)


def main(argv: Sequence[str] | None = None) -> None:
  """Trains, judges and prints the result.

  Raises:
    LoreError: The folder or a flag can't be used.
  """
  parser = argparse.ArgumentParser(
      prog='python -m lore_plugin.play.uncertainty', description=__doc__,
      formatter_class=argparse.RawDescriptionHelpFormatter,
      allow_abbrev=False)
  parser.add_argument('logdir', type=pathlib.Path)
  parser.add_argument(
      '--stages', type=int, nargs='+', default=[1000, 3000, 6000, 9000])
  parser.add_argument('--every', type=int, default=4)
  args, flags = parser.parse_known_args(argv)
  if args.every < 1 or sorted(set(args.stages)) != args.stages or (
      args.stages[0] < 1):
    raise errors.ConfigError(
        f'--every is {args.every} and --stages {args.stages}, but --every '
        'must be at least 1, and --stages must rise from at least 1.')
  notes = args.logdir / 'uncertainty-states.jsonl'
  args.logdir.mkdir(parents=True, exist_ok=True)
  with notes.open('w', encoding='utf-8') as f:
    # As they come, so that a run that is stopped has not been for nothing.
    note = lambda row: print(json.dumps(row), file=f, flush=True)
    with contextlib.redirect_stdout(sys.stderr):
      measure(args.logdir, args.stages, args.every, note, flags)
  rows = [json.loads(x) for x in notes.read_text('utf-8').splitlines()]
  result = summarise(rows, args.stages)
  (args.logdir / 'uncertainty.json').write_text(json.dumps(
      {'flags': flags, 'every': args.every, 'stages': result}, indent=2))
  print(table(result))


if __name__ == '__main__':
  try:
    main()
  except errors.LoreError as e:
    launch.report(e)
    sys.exit(2)
