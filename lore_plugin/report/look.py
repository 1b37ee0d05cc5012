"""How the figures of a report look: colours, dashes, sizes, files.

Colours are those of Okabe and Ito, which colour-blind people can tell apart;
arms also differ by dashes and markers, so that print in grey stays readable.
"""

import contextlib
import pathlib
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import matplotlib
import matplotlib.axes
import matplotlib.figure
import numpy as np

THEMES: dict[str, dict[str, Any]] = {
    'light': {
        'ground': '#ffffff', 'text': '#1b1b1f', 'grid': '#d9d9e0',
        'base': '#1b1b1f', 'plain': '#85858f', 'colours': (
            '#0072b2', '#d55e00', '#009e73', '#cc79a7', '#b8860b', '#56b4e9',
            '#6a3d9a')},
    'dark': {
        'ground': '#16171b', 'text': '#e9e9ee', 'grid': '#3a3b43',
        'base': '#ffffff', 'plain': '#9b9ba6', 'colours': (
            '#56b4e9', '#ff8a3d', '#2fc79b', '#e79bc7', '#f0c44c', '#8ecbff',
            '#b794e6')}}
MARKERS = 'osD^vPX'
DASHES = ('-', (0, (5, 1.6)), (0, (2, 1.2)), (0, (6, 1.5, 1.5, 1.5)))
UNIFORM = 'uniform'
WIDTH, DPI = 8.0, 200
# Curves that one panel can hold, and how far their names are apart, as a share
# of its height.
CURVES, GAP = 6, 0.07


def slug(text: str) -> str:
  return re.sub(r'[^a-z0-9]+', '-', text.lower()).strip('-')


@contextlib.contextmanager
def style(theme: str) -> Iterator[dict[str, Any]]:
  """Sets matplotlib's look for a block and gives it the colours."""
  look = THEMES[theme]
  text, ground = look['text'], look['ground']
  with matplotlib.rc_context({
      'font.size': 11, 'axes.titlesize': 12, 'axes.labelsize': 11,
      'legend.fontsize': 10, 'legend.frameon': False,
      'figure.facecolor': ground, 'axes.facecolor': ground,
      'savefig.facecolor': ground, 'text.color': text,
      'axes.labelcolor': text, 'axes.edgecolor': look['grid'],
      'xtick.color': text, 'ytick.color': text, 'axes.grid': True,
      'axes.axisbelow': True, 'grid.color': look['grid'],
      'grid.linewidth': 0.6, 'axes.spines.top': False,
      'axes.spines.right': False, 'axes.titlelocation': 'left',
      'lines.linewidth': 2.0, 'svg.fonttype': 'path',
      # The same data give the same file.
      'svg.hashsalt': 'lore', 'axes.unicode_minus': False,
      # A name with a dollar is a name.
      'text.parse_math': False}):
    yield look


def save(
    fig: matplotlib.figure.Figure, out: pathlib.Path, name: str,
    theme: str) -> str:
  """Writes PNG and SVG and returns the text of the latter."""
  stem = name if theme == 'light' else f'{name}-{theme}'
  fig.savefig(
      out / f'{stem}.png', dpi=DPI, metadata={'Software': None})
  # Everything has its place now; finding it takes a third of the time.
  fig.set_layout_engine('none')
  path = out / f'{stem}.svg'
  fig.savefig(path, metadata={'Date': None, 'Creator': None})
  return path.read_text(encoding='utf-8')


def canvas(
    rows: int = 1, columns: int = 1, height: float = 4.2
) -> tuple[matplotlib.figure.Figure, np.ndarray]:
  """Makes a figure without pyplot, which keeps figures of its own alive."""
  fig = matplotlib.figure.Figure((WIDTH, height), layout='constrained')
  axes = fig.subplots(rows, columns, squeeze=False)
  return fig, axes


def looks(
    section: dict[str, Any],
    look: dict[str, Any]) -> dict[str, tuple[str, Any, str]]:
  """Returns colour, dash and marker of each arm."""
  out: dict[str, tuple[str, Any, str]] = {}
  k = 0
  for arm in section['arms']:
    if arm == section['reference']:
      out[arm] = (look['base'], '-', 'o')
    elif arm == UNIFORM:
      out[arm] = (look['plain'], (0, (1, 1.5)), 'x')
    else:
      n = len(look['colours'])
      out[arm] = (
          look['colours'][k % n], DASHES[(k // n + k) % len(DASHES)],
          MARKERS[k % len(MARKERS)])
      k += 1
  return out


def title(section: dict[str, Any]) -> str:
  name = section['task'].removeprefix('minigrid_')
  return f'{name} · {section["suite"]}'


def thousands(ax: matplotlib.axes.Axes) -> None:
  ax.xaxis.set_major_formatter(
      lambda x, _: f'{x / 1000:g}k' if x else '0')


def legend(
    fig: matplotlib.figure.Figure, ax: matplotlib.axes.Axes,
    columns: int = 4) -> None:
  handles, labels = ax.get_legend_handles_labels()
  fig.legend(
      handles, labels, loc='outside lower center',
      ncols=min(columns, max(1, len(labels))))


def panels(section: dict[str, Any], arms: Iterable[str]) -> list[list[str]]:
  """Shares out arms so that no panel has more than `CURVES`.

  The reference is in each of them.
  """
  arms = list(arms)
  if len(arms) <= CURVES:
    return [arms]
  base = [x for x in arms if x == section['reference']]
  others = [x for x in arms if x not in base]
  count = -(-len(others) // (CURVES - len(base)))
  size = -(-len(others) // count)
  return [base + others[i * size:(i + 1) * size] for i in range(count)]


def directly(ax: matplotlib.axes.Axes) -> None:
  """Writes the names of lines beside their ends, apart from each other."""
  ends = []
  for line in ax.get_lines():
    name = str(line.get_label())
    values = np.asarray(line.get_ydata(), float)
    values = values[np.isfinite(values)]
    if not name.startswith('_') and len(values):
      ends.append((float(values[-1]), name, line.get_color()))
  low, high = ax.get_ylim()
  # Those of one height stand in the order in which they were drawn.
  ends.sort(key=lambda x: -x[0])
  places = spread([-x for x, *_ in ends], GAP * (high - low), -high, -low)
  for (_, name, colour), place in zip(ends, places):
    ax.annotate(
        name, (1, -place), xycoords=('axes fraction', 'data'), xytext=(6, 0),
        textcoords='offset points', va='center', fontsize=10, color=colour,
        annotation_clip=False)


def spread(
    values: Sequence[float], gap: float, low: float,
    high: float) -> list[float]:
  """Moves sorted values apart, and into an interval where it is long enough.

  Returns:
    As many values, each at least `gap` above the one before.
  """
  out: list[float] = []
  for value in values:
    out.append(max(value, low, out[-1] + gap if out else low))
  for i in reversed(range(len(out))):
    out[i] = min(out[i], high if i == len(out) - 1 else out[i + 1] - gap)
  return out


def alt(section: dict[str, Any], what: str) -> str:
  return (
      f'{what} for {section["task"]}, suite {section["suite"]}, arms '
      f'{", ".join(section["runs"])}. The tables hold the numbers.')
