"""How figures share out curves and label them."""

import types

import matplotlib
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lore_plugin.report import achieved
from lore_plugin.report import figures
from lore_plugin.report import look


@given(
    st.lists(st.floats(-2, 2), max_size=8).map(sorted),
    st.floats(0.01, 0.1))
def test_labels_stand_apart_and_inside(values, gap):
  out = look.spread(values, gap, -1.0, 1.0)
  assert len(out) == len(values)
  assert all(y - x >= gap - 1e-9 for x, y in zip(out, out[1:]))
  assert all(-1 - 1e-9 <= x <= 1 + 1e-9 for x in out)


def test_labels_by_hand():
  # Apart already; two of one height; at the upper end; at the lower end.
  assert look.spread([0.1, 0.5], 0.1, 0, 1) == [0.1, 0.5]
  assert look.spread([0.5, 0.5], 0.25, 0, 1) == [0.5, 0.75]
  assert look.spread([1.0, 1.0], 0.25, 0, 1) == [0.75, 1.0]
  assert look.spread([-1.0, -1.0], 0.25, 0, 1) == [0, 0.25]
  assert look.spread([], 0.25, 0, 1) == []


@pytest.mark.parametrize('count, sizes', [
    (1, [1]), (6, [6]), (7, [4, 4]), (11, [6, 6]), (12, [5, 5, 4])])
def test_no_panel_has_more_than_six_curves(count, sizes):
  arms = [f'a{i}' for i in range(count)]
  parts = look.panels({'reference': 'a0'}, arms)
  assert [len(x) for x in parts] == sizes
  assert all(x[0] == 'a0' for x in parts)
  assert sorted({y for x in parts for y in x}) == sorted(arms)


def test_lines_are_named_at_their_ends():
  with look.style('light'):
    fig, axes = look.canvas()
    axes[0, 0].plot([0, 1], [0.2, 0.9], label='up')
    axes[0, 0].plot([0, 1], [0.8, float('nan')], label='ends early')
    axes[0, 0].plot([0, 1], [0.5, 0.5])
    look.directly(axes[0, 0])
  assert [(x.get_text(), round(x.xy[1], 2)) for x in axes[0, 0].texts] == [
      ('up', 0.9), ('ends early', 0.8)]


@pytest.mark.parametrize('measure', ['return', 'success'])
def test_panels_of_one_figure_have_one_scale(measure):
  """Names stand at the ends of the lines, in the scale that is shown."""
  with look.style('light') as colours:
    fig, axes = look.canvas(2)
    one, two = axes[:, 0]
    one.plot([0, 1], [0.0, 1.0], label='low')
    two.plot([0, 1], [100.0, 200.0], label='high')
    two.plot([0, 1], [100.0, 200.0], label='as high')
    figures.frame(
        axes[:, 0], {'measure': measure, 'steps': [1000]}, colours, '')
  assert one.get_ylim() == two.get_ylim()
  low, high = one.get_ylim()
  if measure == 'success':
    assert (low, high) == (-0.02, 1.04)
    return
  assert low < 0 and high > 200
  upper, lower = (x.xy[1] for x in two.texts)
  assert upper - lower == pytest.approx(look.GAP * (high - low))


def made(*rates):
  return [types.SimpleNamespace(about=types.SimpleNamespace(
      summary=x and {'alone': {'unlocked': x}})) for x in rates]


def test_achievements_are_means_over_seeds():
  section = {
      'task': 'crafter_symbolic', 'suite': 's', 'reference': 'a',
      'arms': {'a': {}, 'b': {}, 'c': {}},
      'runs': {
          'a': made({'wood': 0.5, 'iron': 0.0}, {'wood': 0.25, 'iron': 0.0}),
          'b': made({'wood': 1.0, 'iron': 0.0}, None), 'c': made(None)}}
  with look.style('light') as style:
    fig, alt, caption = achieved.achievements(section, style)
    ax = fig.axes[0]
    # Nobody has iron, and of c nothing is known.
    assert [x.get_text() for x in ax.get_yticklabels()] == ['wood']
    drawn = {x.get_label(): x.get_offsets().tolist() for x in ax.collections}
    assert drawn == {'a (2)': [[0.375, 0.0]], 'b (1)': [[1.0, 0.0]]}
    assert 'left out' in caption and 'crafter_symbolic' in alt
    section['runs'] = {'a': made({'iron': 0.0}), 'c': made(None)}
    assert achieved.achievements(section, style) is None
  assert isinstance(fig, matplotlib.figure.Figure)
