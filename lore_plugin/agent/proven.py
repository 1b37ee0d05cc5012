"""What advised segments were seen to reach, and whether they still do."""

from typing import Any

from . import compare
from . import evidence

# Segments of either arm without which nothing is proven: of one, the range of
# returns that was seen is taken for the range that there is.
FEWEST = 2
# Share of what advised segments had reached below which they have
# fallen. Then it is forgotten, and until it is proven or said to help again so
# many times as many segments of either arm have to end: falls of who turns
# whenever he is believed grow with the logarithm of time.
FALLEN, MORE = 0.5, 4
# Deviations at which the learner's pull takes advice for proven. The words
# that people read wait for `evidence`.
SURE = 3.0
# What a segment takes from the best that was proven, as a share of the range,
# and from what is not proven any more. What was proven once is no licence.
FADE, FADE_UNPROVEN = 0.003, 0.006
# Bound on what advice can add below which its gate is hardly open: it lowers
# tau by 1.
OPEN = 0.1
# Segments of an agent that lapsed of which its share is taken.
LATEST = 20


class Proven:
  """Remembers the best that was proven, fades it, and notices a fall.

  Once the agent does as well as was proven, nothing is added by advice and its
  gate is closed. Then the agent may fall over, and advised segments with it,
  as they hardly follow advice. So what fails in both arms behind a closed gate
  says nothing about advice: the agent has lapsed, and what was proven is tried
  again. If advised segments fail behind an open gate, advice has fallen.

  Attributes:
    proof: Lower bound on what advice can add; see `bound`.
    peak: Greatest lower bound of the advised arm's share of the range, fading;
      0 for none.
    best: The greatest `peak` since the last fall.
    reach: Greatest estimate of its mean return while help was shown, or lower
      end of its interval while it was hoped for, since the last fall; None for
      none. A return, as ranges change.
    falls: How often advice has fallen.
    when: The step at which it last did.
    counts: Segments of either arm that have ended since the last fall.
    lapses: How often the agent has fallen over after it did as well.
    alone: Mean of the segments of the agent that has
      lapsed: those by which that was noticed, of either arm, and then the
      control group's, the last ones; None if it has not.
    tried: Whether advice was tried again, and since then neither was it proven
      again nor has the agent come up to half of it.
  """

  def __init__(self):
    self.falls, self.when, self.lapses = 0, 0, 0
    self._begin()

  def _begin(self) -> None:
    """Knows nothing of what advice can do, but how often it fell."""
    self.proof, self.peak, self.best = 0.0, 0.0, 0.0
    self.reach: float | None = None
    self.counts = [0, 0]
    self.fall, self.lapse = evidence.Fall(), evidence.Fall()
    self.alone: compare.Mean | None = None
    self.tried = False

  @property
  def enough(self) -> bool:
    """Whether enough has come after the last fall to believe advice again."""
    return not self.falls or min(self.counts) >= FEWEST * MORE ** self.falls

  def bound(
      self, guess: compare.Matched, extremes: compare.Bounds, shown: int,
      better: float, hope: float) -> None:
    """Takes in a comparison, of which `proof` is a lower bound, in [0, 1].

    The lower bound of the difference, with the advised arm at the best that it
    was proven to reach: if a closed gate makes advised segments fail as well,
    it would never open again.

    Args:
      guess: Mean of the matched segments of each arm.
      extremes: The range.
      shown: Whether it is shown at any time to help (1) or to do harm (-1).
      better: Probability that advised segments do at least as well.
      hope: How clear it is that they do better, in [0, 1].
    """
    advised = (0.0, 0.0, 0.0)
    if guess:
      advised = compare.intervals(guess)[1]
      self._learn(guess, advised, extremes, shown, better, hope)
    alone = self.alone or guess and guess[0]
    self.proof = 0.0
    if self.peak and alone:
      estimate, low, high = (max(x, self.peak) for x in advised)
      self.proof = adds(alone, (estimate, low, high))
    if self.tried and alone:
      reach = compare.placed([self.reach], extremes)[0]
      self.tried = bool(alone.share < FALLEN * reach)
    if not self.proof:
      self.alone = None

  def _learn(self, guess, advised, extremes, shown, better, hope):
    """Moves what was proven by what is known of either arm."""
    # What is not better than the control group achieved nothing, however well
    # it does: the agent may have done that.
    known = self.enough and min(x.number for x in guess) >= FEWEST
    sure = known and compare.newcombe(
        *compare.intervals(guess, SURE))[1] > 0
    # What is believed short of a proof can fall as well, or who helps as long
    # as he is not believed would be believed again and again. Of few segments
    # the estimate is luck, by which honest advice would fall.
    if sure or shown > 0 or hope > 0:
      reached = advised[0] if sure or shown > 0 else advised[1]
      reach = extremes[0] + reached * (extremes[1] - extremes[0])
      self.reach = reach if self.reach is None else max(self.reach, reach)
    if sure and shown >= 0:
      self.peak = max(self.peak, advised[1])
      self.best = max(self.best, self.peak)
      self.tried = False
    elif shown < 0:
      self.peak = self.best = 0.0
    elif better < 0.5 and not self.alone:
      self.peak = 0.0

  def ended(
      self, arm: int, score: float, extremes: compare.Bounds, shown: int,
      fresh: bool, gate: float) -> bool:
    """Takes in a segment that has ended. Returns whether advice has fallen.

    Args:
      arm: 1 if it was advised, else 0.
      score: Its return.
      extremes: The range of returns now.
      shown: As for `bound`.
      fresh: Whether it is like no other; see `segments.Segment`.
      gate: How far the gate is held open, in [0, 1].
    """
    self.counts[arm] += 1
    self.peak = max(0.0, self.peak - (FADE if shown > 0 else FADE_UNPROVEN))
    if self.reach is None or extremes[0] == extremes[1] or fresh:
      return False
    reach, share = compare.placed([self.reach, score], extremes).tolist()
    if not reach:
      return False
    least = FALLEN * reach
    if self.alone and not arm:
      mean, count, _ = self.alone
      mean += (share - mean) / (count + 1)
      self.alone = compare.Mean(mean, min(LATEST, count + 1))
    fell = bool(arm) and (shown > 0 or gate > 0) and (
        self.fall.add(share, least))
    if gate >= OPEN or self.tried:
      self.lapse = evidence.Fall()
    elif self.lapse.add(share, least) or fell:
      return not self._lapsed(reach) and fell
    return fell

  def _lapsed(self, reach):
    """Takes what was proven for proven again, if that opens the gate."""
    gambler = self.lapse if self.lapse.since else self.fall
    alone = compare.Mean(gambler.total / gambler.since, gambler.since)
    best = min(self.best, reach)
    opens = adds(alone, (best,) * 3) >= OPEN
    self.lapse = evidence.Fall()
    if opens:
      self.peak, self.alone, self.tried = best, alone, True
      self.lapses += 1
      self.fall = evidence.Fall()
    return opens

  def forget(self, step: int) -> int:
    """Leaves what was proven. Returns for how many segments it is not so.

    Args:
      step: The step of now.
    """
    since = self.fall.since
    self.falls, self.when = self.falls + 1, step
    self._begin()
    return since

  def describe(self) -> str:
    """Says in words whether it has fallen; '' if not."""
    if not self.falls:
      return ''
    often = f' {self.falls} times, last' if self.falls > 1 else ''
    return (
        f'; fell below half of what it had reached{often} at step '
        f'{self.when:,}')

  def save(self) -> dict[str, Any]:
    """Returns the state as plain values, for `load`; `Trust` keeps `proof`."""
    return {'peak': self.peak, 'reach': self.reach, 'falls': self.falls,
            'when': self.when, 'counts': list(self.counts),
            'fall': self.fall.save(), 'lapse': self.lapse.save(),
            'lapses': self.lapses, 'best': self.best,
            'alone': self.alone and tuple(self.alone),
            'tried': self.tried}

  def load(self, data: dict[str, Any]) -> None:
    """Goes on where `save` was called, or before falls were noticed."""
    self.peak = data['peak']
    self.reach, self.falls = data.get('reach'), data.get('falls', 0)
    self.when = data.get('when', 0)
    # Until a fall they don't matter.
    self.counts = list(data.get('counts', (0, 0)))
    # Before lapses were noticed.
    self.lapses = data.get('lapses', 0)
    # `Trust` has a `best` of its own, and once kept all this itself.
    self.best = data['best'] if 'lapses' in data else self.peak
    alone = data.get('alone')
    self.alone = alone and compare.Mean(*alone)
    self.tried = data.get('tried', False)
    for name in ('fall', 'lapse'):
      gambler = evidence.Fall()
      if name in data:
        gambler.load(data[name])
      setattr(self, name, gambler)


def adds(alone: compare.Mean, advised: compare.Interval) -> float:
  """Lower bound of what advised segments do better, at least 0.

  Args:
    alone: The agent's mean.
    advised: The share of what is advised, and the ends of its interval.
  """
  return max(0.0, compare.newcombe(*compare.intervals([alone]), advised)[1])
