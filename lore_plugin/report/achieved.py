"""Draws which achievements of a game agents unlock without advice."""

from typing import Any

import matplotlib.figure
import numpy as np

from . import look as looklib


def achievements(
    section: dict[str, Any], look: dict[str, Any]
) -> tuple[matplotlib.figure.Figure, str, str] | None:
  """Shares of episodes that unlocked each achievement, after training."""
  found = {
      arm: group for arm, runs in section['runs'].items()
      if (group := [x for run in runs if (x := unlocked(run))])}
  if not found:
    return None
  rates = {
      arm: {k: float(np.mean([x[k] for x in group])) for k in group[0]}
      for arm, group in found.items()}
  best = {
      k: max(x.get(k, 0.0) for x in rates.values())
      for x in rates.values() for k in x}
  # What nobody has ever unlocked tells no arms apart.
  names = sorted((k for k, v in best.items() if v), key=lambda k: -best[k])
  if not names:
    return None
  fig, axes = looklib.canvas(height=1.6 + 0.3 * len(names))
  ax = axes[0, 0]
  style = looklib.looks(section, look)
  for arm, values in rates.items():
    colour, _, marker = style[arm]
    ax.scatter(
        [values.get(k, 0.0) for k in names], range(len(names)), s=34,
        color=colour, marker=marker, alpha=0.85, lw=1,
        label=f'{arm} ({len(found[arm])})')
  ax.set(
      xlim=(-0.02, 1.02), ylim=(len(names) - 0.4, -0.6),
      xlabel='share of episodes without advice')
  ax.set_yticks(range(len(names)), [x.replace('_', ' ') for x in names])
  ax.set_title(looklib.title(section))
  looklib.legend(fig, ax)
  caption = (
      'Share of the episodes of the last evaluation in which the agent, '
      'without advice, unlocked each achievement: mean over seeds. Those that '
      'no arm unlocked are left out. In brackets the number of seeds.')
  what = 'Achievements of the agent alone'
  return fig, looklib.alt(section, what), caption


def unlocked(run: Any) -> dict[str, float]:
  """What the agent of a run unlocked after training; {} if nobody noted it."""
  return ((run.about.summary or {}).get('alone') or {}).get('unlocked') or {}
