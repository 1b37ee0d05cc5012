"""Draws the figures of a report, each for a light and a dark page."""

import pathlib
from collections.abc import Sequence
from typing import Any

import matplotlib.axes
import matplotlib.figure
import numpy as np

from .. import curves as curvelib
from ..worlds import seeds
from .achieved import achievements
from . import load
from . import look as looklib
from . import stats
from . import words

METRICS = {
    'beta': 'beta, the gate', 'kl': 'KL(pi_mix || pi_wm), nats',
    'lambda': 'lambda', 'temperature': 'T', 'trust': 'trust',
    'uplift': 'uplift, share of return'}
BIN = 500
# A figure, what it is to those who do not see it, and its caption.
Drawn = tuple[matplotlib.figure.Figure, str, str]


def draw(
    section: dict[str, Any], out: pathlib.Path,
    alone: bool = True) -> list[dict[str, str]]:
  """Draws all figures of one suite on one task.

  Args:
    section: What `report.summarise` returned.
    out: Folder to write to.
    alone: Whether the report has no other section; file names of others begin
      with suite and task.

  Returns:
    A list of dicts: `name`, `title`, `alt`, `caption` and the texts of the
    SVG files by theme, `light` and `dark`.
  """
  prefix = '' if alone else looklib.slug(
      f'{section["suite"]}-{section["task"]}') + '-'
  made = []
  returns = section['measure'] == 'return'
  for name, heading, plot in PLOTS:
    if returns and name in TIMES:
      continue
    if name in MANY and sum(map(len, section['runs'].values())) < 2:
      continue
    if returns and name == 'curves':
      heading = 'Mean return while training'
    if name == 'cost' and not charged(section):
      heading = 'Calls'
    figure = {'name': prefix + name, 'title': heading}
    for theme in looklib.THEMES:
      with looklib.style(theme) as look:
        drawn = plot(section, look)
        if drawn is None:
          break
        fig, figure['alt'], figure['caption'] = drawn
        figure[theme] = looklib.save(fig, out, prefix + name, theme)
    if 'dark' in figure:
      made.append(figure)
  return made


def curves(section: dict[str, Any], look: dict[str, Any]) -> Drawn:
  """Success rate by windows of 1,000 steps; bars at the marks."""
  style = looklib.looks(section, look)
  width = curvelib.WINDOW
  marks = {
      f'{x // 1000}k': x for x in curvelib.MARKS if x <= section['stop']}
  parts = looklib.panels(section, section['runs'])
  fig, axes = looklib.canvas(len(parts), height=4.2 * len(parts))
  for ax, part in zip(axes[:, 0], parts):
    for name, mark in marks.items():
      ax.axvspan(mark - width, mark, color=look['grid'], alpha=0.45, lw=0)
      ax.annotate(
          name, (mark - width / 2, 1.05), ha='center', va='bottom', fontsize=9,
          color=look['plain'], annotation_clip=False)
    for arm in part:
      runs = section['runs'][arm]
      found = [x.windows(section['stop']) for x in runs]
      longest = max(len(x) for x in found)
      rates = np.full((len(runs), longest), np.nan)
      for row, values in zip(rates, found):
        row[:len(values)] = values
      over_seeds(
          ax, section, arm, (np.arange(longest) + 0.5) * width, rates,
          style[arm])
  what = frame([*axes[:, 0]], section, look, ', 1k-step windows')
  axes[0, 0].set_title(looklib.title(section), pad=20)
  caption = (
      f'{what} while training, of the episodes that begin in windows of 1,000 '
      'environment steps: IQM over seeds with its 95 % interval (none below '
      'five seeds), and '
      'every seed as a thin line. '
      + (f'Shaded: the windows that end at {", ".join(marks)}. '
         if marks else '') +
      'In brackets the number of seeds. Dotted: 0.9. Windows so late that '
      'the longest episode could not have ended are left out.')
  return fig, looklib.alt(section, 'Learning curves'), caption


def alone(section: dict[str, Any], look: dict[str, Any]) -> Drawn | None:
  """What the agent came to without advice, evaluated while it trained."""
  found = {
      arm: group for arm, runs in section['runs'].items()
      if (group := [x for x in runs if x.evaluated])}
  if not found:
    return None
  style = looklib.looks(section, look)
  name = 'success' if section['measure'] == 'success' else 'score'
  parts = looklib.panels(section, found)
  fig, axes = looklib.canvas(len(parts), height=4.2 * len(parts))
  for ax, part in zip(axes[:, 0], parts):
    for arm in part:
      runs = found[arm]
      # Where all of them were evaluated; the last step of each may differ.
      x = np.array(sorted(set.intersection(
          *(set(run.evaluated['step']) for run in runs))))
      rates = np.array([
          run.evaluated[name][np.isin(run.evaluated['step'], x)]
          for run in runs])
      over_seeds(ax, section, arm, x, rates, style[arm])
  what = frame([*axes[:, 0]], section, look, ' without advice')
  axes[0, 0].set_title(looklib.title(section))
  caption = (
      f'{what} of the agent without advice, on '
      f'{seeds.drawn(section["task"])} of new seeds that are the same at each '
      'step, actions sampled: IQM over seeds with its 95 % interval (none '
      'below five seeds), and every seed as a thin line. In brackets the '
      'number of seeds.')
  return fig, looklib.alt(section, 'Learning curves of the agent alone'), (
      caption)


def over_seeds(
    ax: matplotlib.axes.Axes, section: dict[str, Any], arm: str,
    x: np.ndarray, rates: np.ndarray, style: tuple[Any, ...]) -> None:
  """Draws an arm over time: IQM over seeds, its interval, and every seed.

  Args:
    ax: Where to.
    section: What `report.summarise` returned.
    arm: Its name.
    x: Environment steps. Shape [X], f64.
    rates: What each seed came to; nan where it is not known. Shape [seeds, X].
    style: Colour, dash and marker.
  """
  colour, dash, marker = style
  middle, low, high = stats.curve(rates, *words.BOUNDS[section['measure']])
  ax.fill_between(x, low, high, color=colour, alpha=0.16, lw=0)
  for row in rates if len(rates) > 1 else ():
    ax.plot(x, row, color=colour, alpha=0.22, lw=0.7)
  ax.plot(
      x, middle, color=colour, ls=dash, marker=marker, ms=4.5,
      label=f'{arm} ({len(rates)})')


def frame(
    axes: Sequence[matplotlib.axes.Axes], section: dict[str, Any],
    look: dict[str, Any], where: str) -> str:
  """Sets axes, goal and labels of curves over time. Returns what they show.

  All panels have one scale, which is settled before names are placed in it.
  """
  success = section['measure'] == 'success'
  what = 'Success rate' if success else 'Mean return'
  limits = (-0.02, 1.04) if success else (
      min(x.get_ylim()[0] for x in axes), max(x.get_ylim()[1] for x in axes))
  for ax in axes:
    if success:
      ax.axhline(curvelib.GOAL, color=look['plain'], lw=0.8, ls=':')
    ax.set(
        xlim=(0, max(section['steps'])), ylim=limits,
        xlabel='environment steps', ylabel=f'{what.lower()}{where}')
    looklib.thousands(ax)
    looklib.directly(ax)
  return what


def steps(section: dict[str, Any], look: dict[str, Any]) -> Drawn:
  """Steps to the goal by seed, with the restricted mean of each arm."""
  runs = section['runs']
  fig, axes = looklib.canvas(height=1.5 + 0.5 * len(runs))
  ax = axes[0, 0]
  style = looklib.looks(section, look)
  end = section['limit']
  rng = np.random.default_rng(0)
  for row, (arm, group) in enumerate(runs.items()):
    colour, _, marker = style[arm]
    when, reached = map(np.array, zip(*[x.outcome() for x in group]))
    reached &= when <= end
    spread = rng.uniform(-0.13, 0.13, len(when)) - 0.2
    ax.scatter(
        when[reached], row + spread[reached], s=20, color=colour, alpha=0.6,
        marker=marker, lw=0.8)
    # Open arrows point to where these runs would have gone.
    ax.scatter(
        np.full((~reached).sum(), end), row + spread[~reached], s=42,
        facecolors='none', edgecolors=colour, marker='>', lw=1.2)
    span(ax, section['arms'][arm]['steps_to_goal'], row + 0.2, colour)
  ax.axvline(end, color=look['plain'], lw=0.8, ls=':')
  ax.set(
      xlim=(0, end * 1.08), xlabel='environment steps to 0.9',
      ylim=(len(runs) - 0.4, -0.6))
  ax.set_yticks(range(len(runs)), [
      f'{k} ({section["arms"][k]["steps_to_goal_reached"]} of {len(v)})'
      for k, v in runs.items()])
  ax.grid(axis='y', visible=False)
  ax.set_title(looklib.title(section))
  looklib.thousands(ax)
  caption = (
      'End of the first 1,000-step window with a success rate of 0.9 among '
      'the episodes that began in it. Small marks: seeds; open triangles: '
      'seeds that never got there. Large marks: the mean with its 95 % '
      'interval, where these count as long as the shortest run. In brackets '
      'how many seeds got there.')
  return fig, looklib.alt(section, 'Steps to a success rate of 0.9'), caption


def span(
    ax: matplotlib.axes.Axes, x: stats.Estimate, row: float,
    colour: str) -> None:
  """Draws an estimate with its interval."""
  if x.wide:
    ax.plot([x.low, x.high], [row, row], color=colour, lw=2)
  ax.plot([x.value], [row], marker='o', ms=8, color=colour)


def comparison(
    section: dict[str, Any], look: dict[str, Any]) -> Drawn | None:
  """Ratios of steps to the goal, with whatever helps and alone."""
  compared = section['comparisons']
  if not compared:
    return None
  fig, axes = looklib.canvas(1, 2, height=1.7 + 0.45 * len(compared))
  style = looklib.looks(section, look)
  found = [x[k] for x in compared.values() for k in ('steps', 'alone_steps')
           if x[k]]
  ends = [v for x in found for v in (x.low, x.high, x.value)
          if np.isfinite(v) and v > 0]
  low, high = min([0.5, *ends]) / 1.3, max([2.0, *ends]) * 1.3
  ticks = [x for x in (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20)
           if low <= x <= high]
  for ax, key in zip(axes[0], ('alone_steps', 'steps')):
    label = f'ratio of {words.NAMES[key]}'
    for row, (arm, x) in enumerate(compared.items()):
      if x[key]:
        span(ax, x[key], row, style[arm][0])
    ax.axvline(1, color=look['plain'], lw=1.0, ls='--')
    ax.set_xscale('log')
    ax.set(xlim=(low, high), xlabel=label, ylim=(len(compared) - 0.4, -0.6))
    ax.set_xticks(ticks, [f'{x:g}' for x in ticks])
    ax.set_xticks([], minor=True)
    ax.grid(axis='y', visible=False)
  axes[0, 0].set_yticks(range(len(compared)), list(compared))
  axes[0, 1].set_yticks([])
  axes[0, 0].set_title(
      f'{looklib.title(section)}: against {section["reference"]}')
  caption = (
      f'Against {section["reference"]}: ratio of restricted mean steps with '
      f'95 % intervals; below 1 is faster. Left by {words.by(section)}, right '
      'with whatever helps the agent. Whether a difference is shown is in the '
      'table.')
  return fig, looklib.alt(section, 'Comparison with the reference'), caption


def profile(section: dict[str, Any], look: dict[str, Any]) -> Drawn:
  """Share of seeds that have reached the goal by each step."""
  fig, axes = looklib.canvas(1, 2, height=3.9)
  style = looklib.looks(section, look)
  for ax, when_of, label in zip(
      axes[0], (load.Run.alone, load.Run.outcome), ('alone', 'in training')):
    for arm, runs in section['runs'].items():
      colour, dash, _ = style[arm]
      when, reached = zip(*[when_of(x) for x in runs])
      at = np.unique([0, *when, max(x.steps for x in runs)])
      share, low, high = stats.profile(when, reached, at)
      ax.step(
          at, share, where='post', color=colour, ls=dash,
          label=f'{arm} ({len(runs)})')
      if len(runs) >= stats.FEW:
        ax.fill_between(
            at, low, high, step='post', color=colour, alpha=0.10, lw=0)
    ax.set(
        xlim=(0, max(section['steps'])), ylim=(-0.02, 1.04),
        xlabel='environment steps', ylabel=f'share of seeds at 0.9 {label}')
    looklib.thousands(ax)
  axes[0, 0].set_title(looklib.title(section))
  looklib.legend(fig, axes[0, 1])
  caption = (
      'Share of seeds whose success rate had reached 0.9 by a step, by '
      f'Kaplan and Meier with 95 % intervals; left by {words.by(section)}, '
      'right with whatever helps. In brackets the number of seeds.')
  return fig, looklib.alt(section, 'Performance profile'), caption


def charged(section: dict[str, Any]) -> bool:
  """Whether any run was charged for its calls."""
  return any(x.money() for v in section['runs'].values() for x in v)


def cost(
    section: dict[str, Any], look: dict[str, Any]) -> Drawn | None:
  """Calls and money against success, and calls over training."""
  runs = section['runs']
  asked = {k: v for k, v in runs.items()
           if any(x.calls() for x in v)}
  if not asked:
    return None
  money = charged(section)
  over = any(
      np.nanmax(x.episodes['calls'], initial=0) > 0
      for v in asked.values() for x in v)
  panels = ['calls', *['money'] * money, *['time'] * over]
  fig, axes = looklib.canvas(1, len(panels), height=3.9)
  style = looklib.looks(section, look)
  for ax, panel in zip(axes[0], panels):
    for arm, group in runs.items():
      colour, dash, marker = style[arm]
      label = f'{arm} ({len(group)})'
      if panel == 'time':
        for k, run in enumerate(group if arm in asked else ()):
          ax.plot(
              run.episodes['step'], run.episodes['calls'], color=colour,
              lw=1.1, alpha=0.7, ls=dash, label=label if not k else None)
        continue
      x = [r.calls() if panel == 'calls' else r.money()
           for r in group]
      # Over all training, as the publication counts.
      y = [r.values.mean() for r in group]
      ax.scatter(
          x, y, color=colour, marker=marker, s=34, alpha=0.8, lw=1,
          label=label)
    if panel == 'time':
      ax.set(xlabel='environment steps', ylabel='calls so far')
      looklib.thousands(ax)
    else:
      ax.set(
          xlabel='calls of a run' if panel == 'calls' else
          'US dollars of a run',
          ylabel=f'{section["measure"]}, all training episodes')
      if section['measure'] == 'success':
        ax.set(ylim=(-0.03, 1.05))
  axes[0, 0].set_title(looklib.title(section))
  looklib.legend(fig, axes[0, 0])
  caption = (
      'Every mark is a seed: what its run asked for, against the share of all '
      'its training episodes that succeeded.' + (
          ' Right: when during training it asked.' if over else '') + (
              '' if money else ' No run was charged for its calls.'))
  return fig, looklib.alt(
      section, f'Calls and money against {section["measure"]}'), caption


def asking(
    section: dict[str, Any], look: dict[str, Any]) -> Drawn | None:
  """At which steps of an episode advice is asked for."""
  found = {
      arm: [x.about.asked_at for x in group if x.about.asked_at]
      for arm, group in section['runs'].items()}
  found = {k: v for k, v in found.items() if v}
  if not found:
    return None
  style = looklib.looks(section, look)
  fig, axes = looklib.canvas(height=3.6)
  last = max(max(x) for v in found.values() for x in v)
  edges = np.unique(np.round(np.geomspace(1, last + 1, 25)))
  if len(edges) < 2:
    edges = np.array([0.5, 1.5])
  for arm, group in found.items():
    colour, dash, _ = style[arm]
    counts = np.histogram(np.concatenate(group), edges)[0] / len(group)
    axes[0, 0].stairs(
        np.cumsum(counts), edges, color=colour, ls=dash, lw=1.7,
        baseline=None, label=f'{arm} ({len(group)})')
  axes[0, 0].set(
      xscale='log', xlabel='step of the episode',
      ylabel='calls of a run until then')
  # Of its own accord a scale of powers writes them in mathematics.
  axes[0, 0].xaxis.set_major_formatter(lambda x, _: f'{x:g}')
  axes[0, 0].xaxis.set_minor_formatter(lambda x, _: '')
  axes[0, 0].set_title(looklib.title(section))
  looklib.legend(fig, axes[0, 0])
  caption = (
      'Calls of a run at or before a step of their episodes, mean over seeds. '
      'Advice for states near the start is asked for first and then known.')
  what = 'Where in the episode advice is asked'
  return fig, looklib.alt(section, what), caption


def series(
    section: dict[str, Any], look: dict[str, Any]) -> Drawn | None:
  """What was logged of the gate over training."""
  style = looklib.looks(section, look)
  found = {
      metric: {
          arm: lines for arm, runs in section['runs'].items()
          if (lines := [binned(x.series, metric) for x in runs
                        if metric in x.series])
          and any(np.isfinite(x).any() for x in lines)}
      for metric in METRICS}
  found = {k: v for k, v in found.items() if v}
  if not found:
    return None
  columns = 2 if len(found) > 1 else 1
  rows = -(-len(found) // columns)
  fig, axes = looklib.canvas(rows, columns, height=0.7 + 2.2 * rows)
  fig.suptitle(looklib.title(section), x=0.01, ha='left', fontsize=12)
  names = {}
  for ax in axes.flat[len(found):]:
    ax.set_visible(False)
  for ax, (metric, arms) in zip(axes.flat, found.items()):
    for arm, lines in arms.items():
      colour, dash, _ = style[arm]
      width = max(map(len, lines))
      table = np.full((len(lines), width), np.nan)
      for row, line in zip(table, lines):
        row[:len(line)] = line
      seen = np.isfinite(table).any(0)
      x = ((np.arange(width) + 0.5) * BIN)[seen]
      table = table[:, seen]
      line, = ax.plot(
          x, np.nanmean(table, 0), color=colour, ls=dash, lw=1.7, label=arm)
      names[arm] = line
      if len(lines) > 1:
        ax.fill_between(
            x, np.nanmin(table, 0), np.nanmax(table, 0), color=colour,
            alpha=0.13, lw=0)
    ax.set_title(METRICS[metric], fontsize=11)
    ax.set_xlim(0, max(section['steps']))
    looklib.thousands(ax)
  fig.legend(
      list(names.values()), list(names), loc='outside lower center',
      ncols=min(4, len(names)))
  caption = (
      f'Means over seeds of what training logged, in steps of {BIN}; the band '
      'spans the lowest and the highest seed. Trust is the probability that '
      'advised episodes do at least as well; uplift how much better they do.')
  what = 'Gate, KL, lambda, T and trust over time'
  return fig, looklib.alt(section, what), caption


def binned(columns: dict[str, np.ndarray], metric: str) -> np.ndarray:
  """Averages a metric over bins of steps. Shape [bins], f64."""
  step, value = columns['step'], columns[metric]
  keep = np.isfinite(value)
  if not keep.any():
    return np.array([])
  index = (step[keep] // BIN).astype(int)
  total = np.bincount(index, value[keep])
  count = np.bincount(index)
  with np.errstate(invalid='ignore'):
    return np.where(count, total / count, np.nan)


# Not drawn of a single run.
MANY = ('steps', 'profile')
# How soon runs succeed.
TIMES = ('steps', 'comparison', 'profile')
PLOTS = (
    ('curves', 'Success while training', curves),
    ('alone', 'The agent alone', alone),
    ('achievements', 'Achievements of the agent alone', achievements),
    ('steps', 'Steps to 0.9', steps),
    ('comparison', 'Against the reference', comparison),
    ('profile', 'Performance profile', profile),
    ('cost', 'Calls and money', cost),
    ('asking', 'Where in the episode advice is asked', asking),
    ('series', 'Gate, KL, lambda, T and trust over time', series))
