"""What advised segments were proven to reach, and whether they still do."""

from typing import Any

from . import compare
from . import evidence

# Segments of either arm without which nothing is proven: of one, the range of
# returns that was seen is taken for the range that there is.
FEWEST = 2
# Share of what advised segments were proven to reach below which they have
# fallen. Then it is forgotten, and the next proof takes so many times as many
# of either arm: who turns after each proof is not proven a third time.
FALLEN, MORE = 0.5, 4


class Proven:
  """Remembers the best that was proven, fades it, and notices a fall.

  Attributes:
    peak: Greatest lower bound of the advised arm's share of the range, fading;
      0 for none.
    reach: Greatest estimate of its mean return while help was shown, since the
      last fall; None for none. A return, as ranges change.
    falls: How often advice has fallen.
  """

  def __init__(self):
    self.peak = 0.0
    self.reach: float | None = None
    self.falls = 0
    self.fall = evidence.Fall()

  @property
  def needed(self) -> int:
    """Segments of either arm that the next proof takes."""
    return FEWEST * MORE ** self.falls

  def reached(self, share: float, extremes: compare.Bounds) -> None:
    """Takes in an estimate while help is shown, as a share of the range."""
    value = extremes[0] + share * (extremes[1] - extremes[0])
    self.reach = value if self.reach is None else max(self.reach, value)

  def fade(self, amount: float) -> None:
    """Takes a little from the peak."""
    self.peak = max(0.0, self.peak - amount)

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

  def forget(self) -> int:
    """Leaves what was proven. Returns for how many segments it is not so."""
    since = self.fall.since
    self.peak, self.reach = 0.0, None
    self.falls += 1
    self.fall = evidence.Fall()
    return since

  def save(self) -> dict[str, Any]:
    """Returns the state as plain values, for `load`."""
    return {'peak': self.peak, 'reach': self.reach, 'falls': self.falls,
            'fall': self.fall.save()}

  def load(self, data: dict[str, Any]) -> None:
    """Goes on where `save` was called, or before falls were noticed."""
    self.peak = data['peak']
    self.reach, self.falls = data.get('reach'), data.get('falls', 0)
    self.fall = evidence.Fall()
    if 'fall' in data:
      self.fall.load(data['fall'])
