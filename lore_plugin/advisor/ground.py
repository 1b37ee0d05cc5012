"""From a provider's scores to action logits.

  scores --calibrate--> candidate logits --ground--> action logits

A language model prefers some words whatever the state is. `Calibration`
estimates that preference from all states answered so far, `calibrate` removes
it, and `ground` says what the preferred candidates mean for the actions.
"""

from collections.abc import Sequence

import numpy as np

from . import types

SPAN = 20.0
# Logits nearer than this to the greatest one are as good.
EQUAL = 1e-3


def center(scores: np.ndarray | Sequence[float]) -> np.ndarray:
  """Returns scores minus their mean, with what is far off drawn nearer.

  Of a score that is more than `SPAN` nats below the best one the rest counts
  by its logarithm: it says 'impossible', and must not outweigh every other
  state in a mean. The order of all scores stays, as of a long ranking.

  Args:
    scores: Log-probabilities up to a constant. Shape [K], finite.

  Returns:
    Scores with mean 0. Shape [K], f64.
  """
  values = np.asarray(scores, np.float64)
  with np.errstate(over='ignore'):
    values = values - values.max()
  far = np.clip(values + SPAN, -1e300, 0.0)
  values = np.maximum(values, -SPAN) - np.log1p(-far)
  return values - values.mean()


class Calibration:
  """Estimates how much a model likes each candidate in any state.

  Contextual calibration subtracts each candidate's mean score over states.
  Scores of one state are only known up to a constant, and states offer
  different candidates, so a plain mean would mix the two. We fit

    score[s, k] = level[s] + bias[k] + noise

  by least squares. With the same candidates in every state that is the mean
  of the centred scores. `shrink` adds so many imaginary states in which the
  bias is zero: the mean of few states says little.

  What is kept of the answers are sums, in whole numbers, so that their order
  does not matter, to the last bit, and their number costs nothing.

  Args:
    shrink: Imaginary states without bias, >= 0. With 1, a candidate seen in n
      states loses n / (n + 1) of its mean.
  """

  # Parts of a nat. Sums of a hundred million scores fit.
  UNIT = 2 ** 32

  def __init__(self, shrink: float = 1.0):
    self.shrink = shrink
    self.answers = 0
    self._index: dict[str, int] = {}
    self._matrix = np.zeros((0, 0), np.int64)
    self._target = np.zeros(0, np.int64)

  def add(self, words: Sequence[str], scores: Sequence[float]) -> None:
    """Takes up the answer of one state: K words and K scores."""
    for word in words:
      self._index.setdefault(word, len(self._index))
    grow = len(self._index) - len(self._target)
    if grow:
      self._matrix = np.pad(self._matrix, ((0, grow), (0, grow)))
      self._target = np.pad(self._target, (0, grow))
    # The normal equations, with the level of each state eliminated:
    # subtracting its mean over its own candidates is a projection, so is this
    # matrix.
    ids = np.array([self._index[word] for word in words])
    unit = np.float64(self.UNIT)
    self._target[ids] += np.rint(center(scores) * unit).astype(np.int64)
    self._matrix[ids, ids] += self.UNIT
    self._matrix[np.ix_(ids, ids)] -= self.UNIT // len(ids)
    self.answers += 1

  def biases(self) -> dict[str, float]:
    """Returns the bias in nats by candidate.

    Their mean is 0 when all states offer the same candidates.
    """
    if not self._index:
      return {}
    words = sorted(self._index)
    order = np.array([self._index[x] for x in words])
    matrix = self._matrix[np.ix_(order, order)] / self.UNIT
    matrix[np.diag_indices(len(words))] += max(self.shrink, 1e-6)
    values = np.linalg.solve(matrix, self._target[order] / self.UNIT)
    return {word: float(x) for word, x in zip(words, values)}


def calibrate(
    candidates: Sequence[str], scores: Sequence[float],
    bias: dict[str, float]) -> np.ndarray:
  """Subtracts each candidate's bias.

  Args:
    candidates: Words; K entries.
    scores: Log-probabilities up to a constant. Shape [K].
    bias: Result of `Calibration.biases`, or an empty dict for none.

  Returns:
    Candidate logits with mean 0. Shape [K], f64.
  """
  values = center(scores) - np.array(
      [bias.get(word, 0.0) for word in candidates])
  return values - values.mean()


def softmax(logits: np.ndarray) -> np.ndarray:
  """Returns probabilities. Shape [K], f64."""
  values = np.exp(logits - np.max(logits))
  return values / values.sum()


def ranked(
    candidates: Sequence[str], scores: Sequence[float]
) -> list[tuple[str, float]]:
  """Returns pairs of a candidate and its probability, the best first.

  Args:
    candidates: Words; K entries.
    scores: Log-probabilities up to a constant. Shape [K], finite.
  """
  shares = softmax(center(scores))
  order = np.argsort(-shares, kind='stable')
  return [(candidates[i], float(shares[i])) for i in order]


def advisable(description: types.Description) -> np.ndarray:
  """Returns which actions may be advised. Shape [A], bool."""
  return np.array([bool(word) for word in description.actions], bool)


def foremost(logits: np.ndarray) -> np.ndarray:
  """Returns which actions advice puts first, or as good as that.

  Args:
    logits: Of shape [..., A].

  Returns:
    Array of the same shape, bool.
  """
  return logits >= logits.max(-1, keepdims=True) - EQUAL


def legal(description: types.Description) -> list[tuple[int, ...]]:
  """Returns the actions of each option that may be advised.

  An index outside the action space, or of an action that is never advised, is
  dropped here, so that no later step needs to look again.

  Returns:
    One sorted tuple of action indices for each option.
  """
  words = description.actions
  return [
      tuple(sorted({a for a in option.actions
                    if 0 <= a < len(words) and words[a]}))
      for option in description.options]


def to_actions(
    probs: np.ndarray, sets: Sequence[Sequence[int]], allowed: np.ndarray,
    smoothing: float) -> np.ndarray | None:
  """Spreads the probability of each subgoal over the actions towards it.

  p(a) = sum_g p(g) uniform(a; actions of g). A subgoal without actions is
  left out and the others are renormalised.

  Args:
    probs: Probability of each subgoal. Shape [K].
    sets: Action indices of each subgoal; K tuples.
    allowed: Which actions may be advised. Shape [A], bool.
    smoothing: Probability added to every action before the logarithm, > 0; it
      bounds how strongly an action can be advised against.

  Returns:
    Logits, mean 0 over the allowed actions; the others have the lowest of
    them. Shape [A], f64. None if no subgoal has an action.
  """
  action = np.zeros(len(allowed))
  for prob, acts in zip(probs, sets):
    for act in acts:
      action[act] += prob / len(acts)
  total = action.sum()
  if not total > 0:
    return None
  return level(np.log(action / total + smoothing), allowed)


def level(logits: np.ndarray, allowed: np.ndarray) -> np.ndarray | None:
  """Centres logits over the allowed actions, and lowers the others.

  Returns:
    Logits, mean 0 over the allowed actions; the others have the lowest of
    them. Shape [A], f64. None if no action is allowed.
  """
  if not allowed.any():
    return None
  out = np.full(len(allowed), 0.0)
  out[allowed] = logits[allowed] - logits[allowed].mean()
  out[~allowed] = out[allowed].min()
  return out


def ground(
    description: types.Description, mode: str, candidates: Sequence[str],
    scores: Sequence[float], bias: dict[str, float],
    smoothing: float = 0.01) -> np.ndarray | None:
  """Turns the scores of one state into action logits.

  Args:
    description: What the agent saw.
    mode: 'subgoal' or 'action', as in the query.
    candidates: The query's candidates; K words.
    scores: The reply's scores. Shape [K].
    bias: Result of `Calibration.biases`, or an empty dict.
    smoothing: See `to_actions`.

  Returns:
    Logits, finite, mean 0 over the advisable actions. Shape [A], f32. None if
    they say nothing about the actions.
  """
  allowed = advisable(description)
  if mode == 'subgoal':
    names = {
        option.name: acts
        for option, acts in zip(description.options, legal(description))}
    sets = [names.get(word, ()) for word in candidates]
    # Where a ranking was asked for, what is impossible now says nothing about
    # the rest, however high it ranks.
    can = [i for i, acts in enumerate(sets) if acts]
    if not can:
      return None
    logits = calibrate(
        [candidates[i] for i in can], [scores[i] for i in can], bias)
    out = to_actions(
        softmax(logits), [sets[i] for i in can], allowed, smoothing)
  else:
    logits = calibrate(candidates, scores, bias)
    words = {word: x for word, x in zip(candidates, logits)}
    full = np.array([words.get(x, -np.inf) for x in description.actions])
    known = np.isfinite(full) & allowed
    if not known.any():
      return None
    full[~known] = full[known].min()
    out = level(full, allowed)
  if out is None or not np.isfinite(out).all():
    return None
  return out.astype(np.float32)


def decided(description: types.Description, mode: str) -> bool:
  """Returns whether every answer would mean the same, so none is needed.

  That is so if no candidate has an action, only one has, or all that have one
  share the same.
  """
  if mode == 'subgoal':
    return len({acts for acts in legal(description) if acts}) <= 1
  return len({word for word in description.actions if word}) <= 1


def candidates(description: types.Description, mode: str) -> tuple[str, ...]:
  """Returns the words to choose from, each once, in the world's order."""
  if mode == 'subgoal':
    words = (option.name for option in description.options)
  else:
    words = (word for word in description.actions if word)
  return tuple(dict.fromkeys(words))
