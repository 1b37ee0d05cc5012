"""What advised segments were proven to reach, and whether they still do."""

from typing import Any

from . import compare
from . import evidence

# Segments of either arm without which nothing is proven: of one, the range of
# returns that was seen is taken for the range that there is.
FEWEST = 2
# Share of what advised segments were proven to reach below which they have
# fallen. Then it is forgotten, and until it is proven or said to help again so
# many times as many segments of either arm have to end: falls of who turns
# whenever he is believed grow with the logarithm of time.
FALLEN, MORE = 0.5, 4
# Deviations at which the learner's pull takes advice for proven. The words
# that people read wait for `evidence`.
SURE = 3.0


class Proven:
  """Remembers the best that was proven, fades it, and notices a fall.

  Attributes:
    peak: Greatest lower bound of the advised arm's share of the range, fading;
      0 for none.
    reach: Greatest estimate of its mean return while help was shown, since the
      last fall; None for none. A return, as ranges change.
    falls: How often advice has fallen.
    when: The step at which it last did.
    counts: Segments of either arm that have ended since the last fall.
  """

  def __init__(self):
    self.peak = 0.0
    self.reach: float | None = None
    self.falls, self.when = 0, 0
    self.counts = [0, 0]
    self.fall = evidence.Fall()

  @property
  def enough(self) -> bool:
    """Whether enough has come after the last fall to believe advice again."""
    return not self.falls or min(self.counts) >= FEWEST * MORE ** self.falls

  def bound(
      self, guess: compare.Matched, extremes: compare.Bounds, shown: int,
      better: float) -> float:
    """Takes in a comparison. Returns a lower bound on what advice can add.

    The lower bound of the difference, with the advised arm at the best that it
    was proven to reach: if a closed gate makes advised segments fail as well,
    it would never open again.

    Args:
      guess: Share of the range and number of the matched segments of each arm.
      extremes: The range.
      shown: Whether it is shown at any time to help (1) or to do harm (-1).
      better: Probability that advised segments do at least as well.

    Returns:
      A share of the range, in [0, 1].
    """
    if not guess:
      return 0.0
    control, advised = compare.intervals(guess)
    # What is not better than the control group achieved nothing, however well
    # it does: the agent may have done that.
    known = self.enough and min(n for _, n in guess) >= FEWEST
    sure = known and compare.newcombe(
        *compare.intervals(guess, SURE))[1] > 0
    if sure or shown > 0:
      reach = extremes[0] + advised[0] * (extremes[1] - extremes[0])
      self.reach = reach if self.reach is None else max(self.reach, reach)
    if shown < 0:
      self.peak = 0.0
    elif sure:
      self.peak = max(self.peak, advised[1])
    elif better < 0.5:
      self.peak = 0.0
    if not self.peak:
      return 0.0
    best = tuple(max(x, self.peak) for x in advised)
    return max(0.0, compare.newcombe(control, best)[1])

  def ended(self, arm: int, fade: float) -> None:
    """Counts a segment that has ended, and takes a little from the peak."""
    self.counts[arm] += 1
    self.peak = max(0.0, self.peak - fade)

  def fell(self, score: float, extremes: compare.Bounds) -> bool:
    """Takes in an advised segment's return. Returns whether they have fallen.

    Args:
      score: The return.
      extremes: The range of returns now.
    """
    if self.reach is None or extremes[0] == extremes[1]:
      return False
    reach, share = compare.placed([self.reach, score], extremes).tolist()
    return reach > 0 and self.fall.add(share, FALLEN * reach)

  def forget(self, step: int) -> int:
    """Leaves what was proven. Returns for how many segments it is not so.

    Args:
      step: The step of now.
    """
    since = self.fall.since
    self.peak, self.reach = 0.0, None
    self.falls, self.when = self.falls + 1, step
    self.counts = [0, 0]
    self.fall = evidence.Fall()
    return since

  def describe(self) -> str:
    """Says in words whether it has fallen; '' if not."""
    if not self.falls:
      return ''
    often = f' {self.falls} times, last' if self.falls > 1 else ''
    return (
        f'; fell below half of what was proven{often} at step {self.when:,}')

  def save(self) -> dict[str, Any]:
    """Returns the state as plain values, for `load`."""
    return {'peak': self.peak, 'reach': self.reach, 'falls': self.falls,
            'when': self.when, 'counts': list(self.counts),
            'fall': self.fall.save()}

  def load(self, data: dict[str, Any]) -> None:
    """Goes on where `save` was called, or before falls were noticed."""
    self.peak = data['peak']
    self.reach, self.falls = data.get('reach'), data.get('falls', 0)
    self.when = data.get('when', 0)
    # Until a fall they don't matter.
    self.counts = list(data.get('counts', (0, 0)))
    self.fall = evidence.Fall()
    if 'fall' in data:
      self.fall.load(data['fall'])
