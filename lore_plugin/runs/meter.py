"""Says how a suite goes: a bar on a terminal, else a line a minute."""

import collections
import sys
import time
from collections.abc import Callable, Sequence
from typing import TextIO

import tqdm

from . import plan

FORMAT = (
    '{desc} |{bar:20}| {percentage:.1f}% of steps, {rate_fmt}, '
    'ETA {remaining}')


class Meter:
  """Says how a suite goes.

  Args:
    name: Name of the suite.
    items: All items, whose state others change.
    out: Where to write.
    clock: Returns seconds; replaced in tests.
  """

  def __init__(
      self, name: str, items: Sequence[plan.Item], out: TextIO | None = None,
      clock: Callable[[], float] = time.monotonic):
    self.name = name
    self.items = items
    self.out = out or sys.stderr
    self.clock = clock
    self.start = self.next = clock()
    self.first: int | None = None
    self.bar = self.out.isatty()

  def say(self, text: str) -> None:
    """Writes a line of its own."""
    self.out.write(f'\r{text}\x1b[K\n' if self.bar else f'{text}\n')
    self.out.flush()
    self.next = min(self.next, self.clock() + 1)

  def draw(self, last: bool = False) -> None:
    """Writes how far everything is, if it is time to."""
    now = self.clock()
    if now < self.next and not last:
      return
    self.next = now + (1 if self.bar else 60)
    line = self.line(now)
    self.out.write(f'\r{line}\x1b[K' if self.bar else line + '\n')
    if last and self.bar:
      self.out.write('\n')
    self.out.flush()

  def line(self, now: float) -> str:
    """Returns the line: runs, share of steps, speed, time left."""
    count = collections.Counter(x.state for x in self.items)
    going = ('todo', 'running', 'interrupted')
    whole = sum(x.run.steps for x in self.items)
    made = sum(
        min(plan.step_of(x.logdir), x.run.steps) if x.state in going
        else x.run.steps for x in self.items)
    # Steps that are not made here must not count as speed.
    given = sum(
        x.run.steps for x in self.items if x.state in ('linked', 'crashed'))
    if self.first is None:
      self.first = made - given
    done = count['finished'] + count['linked']
    text = (
        f'{self.name}: {done}/{len(self.items)} runs, '
        f'{count["running"]} running')
    if count['running'] and made == self.first + given:
      text += ', starting'
    if count['crashed']:
      text += f', {count["crashed"]} failed'
    return tqdm.tqdm.format_meter(
        made, whole, max(0, now - self.start),
        prefix=text, unit=' steps', ascii=True, bar_format=FORMAT,
        initial=self.first + given)
