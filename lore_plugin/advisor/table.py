"""What is known: states, their questions, the replies, and logits of actions.

  raw bytes --memo--> situation -> row of the table of action logits
                          |
                       question -> replies of each source

A question is what is asked, in words; a situation is a question together with
how each candidate is pursued there. Replies belong to the question, logits to
the situation: where a skill changes, nothing is asked anew.

Memory holds what was met lately. Whatever else was answered is in the store,
and is read when it is met again. So a look-up costs a dictionary's time, and
a store of any size costs nothing.

Where scores are calibrated, the logits depend on all replies so far: when one
arrives, all rows are written anew. Where there are many, that is done for
every 2 % of new replies. Given the replies, the table is a fixed function of
them.
"""

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from .. import errors
from . import ground
from . import rows as rowslib
from . import store as storelib
from . import types

# Distinct observations remembered; more are parsed again when they return.
MEMO = 50_000
# And bytes of them, as pictures are a hundred times as long as words.
MEMO_BYTES = 2 ** 27

# Answers up to which every new one recalibrates all rows.
EXACT = 256


@dataclasses.dataclass(slots=True)
class Question:
  """What may be asked, whatever led to it and however it is pursued.

  Attributes:
    key: Its address in the store, whoever answers.
    query: What is asked.
    replies: Scores by the rank of who gave them.
    rows: Rows of its situations.
    tries: How often its answer could not be read.
    failed: Whether it is in vain to ask.
    later: Time before which it isn't asked again.
  """
  key: str
  query: types.Query
  replies: dict = dataclasses.field(default_factory=dict)
  rows: list = dataclasses.field(default_factory=list)
  tries: int = 0
  failed: bool = False
  later: float = -math.inf


@dataclasses.dataclass(frozen=True, slots=True)
class Situation:
  """A question, and how its candidates are pursued.

  Attributes:
    row: Its row in the table.
    question: Its question.
    description: What the agent saw; its actions and options count here.
    decided: Whether no answer is needed.
  """
  row: int
  question: Question
  description: types.Description
  decided: bool

  @property
  def advisable(self) -> bool:
    """Whether there is anything to choose from."""
    return bool(self.question.query.candidates)


class Table:
  """Finds advice by the raw bytes of `lore/state`.

  Args:
    actions: Number of actions A.
    sources: The advisor's `Source`s.
    store: Where replies are.
    mode: 'subgoal' or 'action'.
    smoothing: See `ground.to_actions`.
    cache: Whether a reply serves whenever its question is met; otherwise it
      does so in the step that it arrives in.
    note: Called with kind, error and source of what went wrong.

  Attributes:
    failed: Names of questions that are in vain to ask, kept also while the
      questions themselves are forgotten.
    answered: Names of questions that were met and have an answer.
    bias: By how much each source likes each candidate in any state, in nats.
  """

  def __init__(
      self, actions: int, sources: Sequence[Any], store: storelib.Store,
      mode: str, smoothing: float = 0.01, cache: bool = True,
      note: Callable = lambda *args: None):
    self.actions = actions
    self.sources = sources
    self.store = store
    self.mode = mode
    self.smoothing = smoothing
    self.cache = cache
    self.failed = Names()
    self.answered = Names()
    self._note = note
    self._memo: dict[bytes, int] = {}
    self._eventful: set[bytes] = set()
    self._questions: dict[str, Question] = {}
    # Row 0 is the state nobody knows.
    self._situations: list[Any] = [None]
    self._rows: dict[tuple, int] = {}
    self._table = (np.zeros((64, actions), np.float32), np.zeros(64, bool))
    # Questions whose replies arrived in this step.
    self._fresh: set[str] = set()
    # Questions for which the store could not be read when they were met.
    self._unread: set[str] = set()
    self._calibrations = [ground.Calibration() for _ in sources]
    self.bias: list[dict[str, float]] = [{} for _ in sources]
    self._written = 0
    # Up to which reply of the store all are known, and which ones beyond.
    self._seen = 0
    self._ahead: set[int] = set()
    self._begin()

  def _begin(self):
    """Takes up what the store holds; all of it only to calibrate."""
    if any(x.calibrate for x in self.sources):
      self._scan()
      self._recalibrate()
    else:
      self._seen, _ = self._try(self.store.latest) or (0, '')

  def lookup(self, states: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Returns action logits and whether they are known. [B, A], [B]."""
    get = self._memo.get
    rows: list[Any] = [get(x) for x in split(states)]
    if None in rows:
      return None
    # Read after the rows: the table grows before a row is handed out.
    prior, valid = self._table
    return prior[rows], valid[rows]

  def situation(self, data: bytes) -> Any:
    """Returns the `Situation` of a state, None if it can't be read."""
    return self._situations[self._row(data)]

  def eventful(self, data: bytes) -> bool:
    """Returns whether a state came with an event."""
    self._row(data)  # Parses what is new.
    return data in self._eventful

  def known(self, question: Question) -> bool:
    """Returns whether a reply tells what to do now."""
    return bool(question.replies) and (
        self.cache or question.key in self._fresh)

  def expire(self) -> None:
    """Gives no advice any more by replies that served a step."""
    if self.cache:
      return
    _, valid = self._table
    for key in self._fresh & self._questions.keys():
      valid[self._questions[key].rows] = False
    self._fresh.clear()

  def take(self, row: dict, source: Any) -> None:
    """Takes up a reply that just arrived."""
    if not self.cache:
      self._fresh.add(row['state'])
    self._adopt(row, source, fresh=True)
    self._refresh([row['state']])

  def give_up(self, question: Question) -> None:
    """Remembers that a question is in vain to ask."""
    question.failed = True
    self.failed.add(question.key)

  def news(self) -> None:
    """Takes up what others wrote to the store since the last time."""
    touched = []
    if self._try(self.store.changed):
      touched += self._scan()
    for key in list(self._unread):
      self._unread.discard(key)
      question = self._questions.get(key)
      if question and self._read(question):
        touched.append(key)
    if touched:
      self._refresh(touched)

  def _scan(self):
    """Goes through new rows of the store. Returns questions they answer."""
    by_identity = {x.identity: x for x in self.sources}
    touched = []
    while rows := self._try(self.store.since, self._seen):
      for seq, row in rows:
        source = row and by_identity.get(storelib.Identity.of(row))
        if source:
          self._adopt(row, source)
          touched.append(row['state'])
        elif row is None:
          self._note('store', errors.StoreError(
              f'Reply {seq} of {self.store.path!r} was damaged; it is not'
              ' used'))
        self._seen = max(self._seen, seq)
        self._ahead.discard(seq)
    return touched

  def _read(self, question):
    """Looks a question up in the store. Returns whether it was answered."""
    for source in self.sources:
      key = storelib.reply_key(source.identity, question.query)
      try:
        row = self.store.get(key)
      except errors.StoreError as e:
        self._note('store', e)
        continue
      except Exception as e:
        self._note('store', e)
        self._unread.add(question.key)
        continue
      if row:
        self._adopt(row, source)
    return bool(question.replies)

  def _try(self, fn, *args):
    try:
      return fn(*args)
    except Exception as e:
      self._note('store', e)
      return None

  def _adopt(self, row, source, fresh=False):
    """Takes up a reply of the store, for its question and to calibrate."""
    words = row['candidates']
    scores = row['scores']
    if row['parser'] < source.provider.parser:
      try:
        scores = parse_again(row, source.provider)
      except Exception as e:
        self._note('parse', e, source)
    question = self._questions.get(row['state'])
    if question and rowslib.same(words, question.query.candidates):
      words = question.query.candidates
      if fresh or source.rank not in question.replies:
        question.replies[source.rank] = scores
        self.answered.add(question.key)
    # A bias is that of one model; others' scores say nothing about it.
    if source.calibrate and words and (
        source.identity == storelib.Identity.of(row)) and (
            self._is_new(row['seq'])):
      self._calibrations[source.rank].add(words, scores)

  def _is_new(self, seq):
    """Returns whether a reply was not counted before, and remembers it."""
    if seq <= self._seen or seq in self._ahead:
      return False
    self._ahead.add(seq)
    while self._seen + 1 in self._ahead:
      self._seen += 1
      self._ahead.discard(self._seen)
    return True

  def _recalibrate(self):
    self._written = sum(x.answers for x in self._calibrations)
    self.bias = [
        x.biases() if source.calibrate else {}
        for x, source in zip(self._calibrations, self.sources)]

  def _refresh(self, keys):
    """Writes the rows that new replies change."""
    answers = sum(x.answers for x in self._calibrations)
    if answers > self._written and (
        answers <= EXACT or answers > 1.02 * self._written):
      self._recalibrate()
      for situation in self._situations[1:]:
        self._write(situation)
    else:
      for key in keys:
        question = self._questions.get(key)
        for row in question.rows if question else ():
          self._write(self._situations[row])

  def _write(self, situation):
    """Computes one row of the table."""
    question = situation.question
    names, bias = question.query.candidates, {}
    if situation.decided:
      scores = np.zeros(len(names))
    elif self.known(question):
      # The answer of whom we prefer.
      rank = min(question.replies)
      scores, bias = ground.center(question.replies[rank]), self.bias[rank]
    else:
      return
    if not len(scores):
      return
    logits = ground.ground(
        situation.description, self.mode, names, scores, bias, self.smoothing)
    if logits is not None:
      prior, valid = self._table
      prior[situation.row] = logits
      valid[situation.row] = True

  def _row(self, data):
    """Returns the row of a state, and makes one if it is new."""
    row = self._memo.get(data)
    if row is None:
      if len(self._memo) >= min(MEMO, MEMO_BYTES // len(data)):
        self._forget()
      try:
        row = self._add(data)
      except Exception as e:
        self._note('description', e)
        row = 0
      self._memo[data] = row
    return row

  def _add(self, data):
    desc = types.Description.decode(data)
    if len(desc.actions) != self.actions:
      raise errors.EnvError(
          f'The world {desc.version!r} names {len(desc.actions)} actions,'
          f' but the action space has {self.actions}. A world gives one'
          " word for each action; '' for one that is never advised.")
    if desc.events:
      self._eventful.add(data)
      desc = dataclasses.replace(desc, events=())
    question = self._ask_for(desc)
    place = (question.key, desc.actions, tuple(ground.legal(desc)))
    if place in self._rows:
      return self._rows[place]
    row = len(self._situations)
    prior, valid = self._table
    if row == len(valid):
      self._table = (
          np.concatenate([prior, np.zeros_like(prior)]),
          np.concatenate([valid, np.zeros_like(valid)]))
    situation = Situation(row, question, desc, ground.decided(desc, self.mode))
    self._situations.append(situation)
    self._rows[place] = row
    question.rows.append(row)
    self._write(situation)
    return row

  def _ask_for(self, desc):
    """Returns the question of a description, with what the store knows."""
    query = types.Query(desc, ground.candidates(desc, self.mode), self.mode)
    key = storelib.question_key(query)
    if key not in self._questions:
      question = Question(key, query, failed=key in self.failed)
      self._questions[key] = question
      if query.candidates:
        self._read(question)
    return self._questions[key]

  def _forget(self):
    """Forgets the states that were met, so that memory stays bounded."""
    self._memo.clear()
    self._eventful.clear()
    self._questions.clear()
    self._rows.clear()
    self._unread.clear()
    del self._situations[1:]
    self._table = (
        np.zeros_like(self._table[0]), np.zeros_like(self._table[1]))

  def __len__(self):
    """Returns the number of situations in memory."""
    return len(self._situations) - 1


class Names:
  """A set of names, short and bounded: the earliest are forgotten.

  Args:
    names: Short names to begin with.
  """

  LARGEST = 50_000
  LETTERS = 16  # Of a hash in hexadecimal; a collision in a billion years.

  def __init__(self, names: Iterable[str] = ()):
    self._names = dict.fromkeys(names)

  def add(self, name: str) -> None:
    self._names[name[:self.LETTERS]] = None
    if len(self._names) > self.LARGEST:
      del self._names[next(iter(self._names))]

  def __contains__(self, name):
    return name[:self.LETTERS] in self._names

  def __len__(self):
    return len(self._names)

  def save(self) -> list[str]:
    return list(self._names)


def parse_again(row: dict, provider: types.Provider) -> tuple[float, ...]:
  """Reads the scores of a stored reply by a parser that has improved.

  Raises:
    ParseError: It can't be read any more.
  """
  count = len(row['candidates'])
  scores = tuple(float(x) for x in provider.parse(row['raw'], count))
  if len(scores) != count or not all(map(math.isfinite, scores)):
    raise errors.ParseError(f'Found {scores!r:.100} for {count} candidates.')
  return scores


def split(states: np.ndarray) -> list[bytes]:
  """Returns the rows of an array as bytes. Shape [B, N], u8."""
  states = np.ascontiguousarray(states, np.uint8)
  return states.view(f'V{states.shape[1]}').ravel().tolist()
