"""A provider for tests: answers from a queue, and remembers the questions.

  provider = Mock(replies=[(0.0, -1.0), errors.BusyCall('later', 3.0)])
  advisor = Advisor(provider, actions=7)
  ...
  assert provider.queries[0].candidates == ('left', 'right')
"""

import threading
import time
from collections.abc import Iterable
from typing import Any

from ... import errors
from .. import types


class Mock(types.Provider):
  """Plays back prepared replies.

  Args:
    config: The section `lore.advisor`; not read.
    seed: Not read.
    replies: What to answer in turn: a `Reply`, a sequence of scores, an
      exception to raise, or a function of the query that returns one of them.
      When the queue is empty, `default` answers.
    default: The same; None scores the candidates 0, -1, -2, ...
    seconds: How long each answer takes.
    paid: See `Provider`.

  Attributes:
    queue: Replies still to come; append to it at any time.
    queries: Every query asked, in order.
  """

  name = 'mock'
  model = 'mock'
  sees = True

  def __init__(
      self, config: Any = None, seed: int = 0, *, replies: Iterable = (),
      default: Any = None, seconds: float = 0.0, paid: bool = False,
      calibrate: bool = False):
    del config, seed
    self.queue = list(replies)
    self.queries: list[types.Query] = []
    self.default = default
    self.seconds = seconds
    self.paid = paid
    self.calibrate = calibrate
    self.closed = False
    self._lock = threading.Lock()

  def ask(self, query: types.Query) -> types.Reply:
    with self._lock:
      self.queries.append(query)
      answer = self.queue.pop(0) if self.queue else self.default
    if self.seconds:
      time.sleep(self.seconds)
    if callable(answer) and not isinstance(answer, type):
      answer = answer(query)
    if answer is None:
      answer = [-float(i) for i in range(len(query.candidates))]
    if isinstance(answer, Exception):
      raise answer
    if isinstance(answer, types.Reply):
      return answer
    if isinstance(answer, str):
      raise errors.ParseError(f'The mock was told to answer {answer!r}.')
    return types.Reply(tuple(float(x) for x in answer), raw='mock')

  def close(self) -> None:
    self.closed = True
