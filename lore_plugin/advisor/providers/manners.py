"""What a server takes, found out by asking.

Servers that speak the same interface differ in what they refuse: the form of
the answer, the name of a limit, a system text. A `Ladder` lists the ways to
ask, the best first; `Manners` remember, for as long as the process lives,
which of them a server takes with a model. What is refused costs nothing, so
that within one call one may step down until something is taken. What is
answered and can't be read is paid: then the next call asks in another way.

Whoever never repeats the tag of a question is asked one at a time, so that a
proxy has no other answer at hand to give in its place.
"""

import collections
import collections.abc
import contextlib
import dataclasses
import re
import threading

from ... import errors

# Unreadable answers in a row after which a way that worked is left, and calls
# after which it is tried again; the latter doubles.
PATIENCE = 3
AGAIN = 16

# Questions refused in every form before anything was ever answered, after
# which the server, and not the question, is to blame.
LOST = 2

# Errors of the server, in a form that it never took, after which another form
# may be what it misses.
STUMBLES = 2

# What a refusal says where it is about the words of this question.
STATE = re.compile(
    r'content.?(filter|management|policy)|moderat|flagged|safety|violat|'
    r'usage.?(guideline|polic)|'
    r'context.?(length|window|size)|too (long|large|many tokens)', re.I)

# And where no other form could help.
HOPELESS = re.compile(
    r'api.?key|unauthori[sz]ed|credit|billing|quota|'
    r'model\b.{0,80}\b(not found|not exist|unknown|not available)|'
    r'(unknown|invalid|no such) model', re.I)

# And where the model reads no pictures.
BLIND = re.compile(
    r'(not?|n.t)\b.{0,30}\b(support|accept|allow|process|handle|take)\w*\b.{0,40}'
    r'\b(image|picture|vision|multi-?modal)|'
    r'\b(image|picture|vision|multi-?modal)\w*\b.{0,60}\b(not?|n.t|only)\b.{0,20}'
    r'\b(support|accept|allow)|mmproj', re.I)

# What we may ask for that a server may not know.
NAMED = re.compile(
    r'logprobs|response_format|json_schema|max_(completion_)?tokens|'
    r'tool_choice|prefill|system (role|message|prompt)|roles must|reasoning|'
    r'chat_template|temperature|cache_control|requested parameters|'
    r'(support|unknown|unrecogni[sz]ed|unexpected).{0,20}'
    r'(tool|parameter|argument|field)', re.I)


@dataclasses.dataclass(frozen=True, slots=True)
class Form:
  """One way to ask.

  Attributes:
    rung: Index of the way in which the answer is wanted.
    think: Index of what is done about a model that reasons too long.
    limit: Name of the limit on the tokens of an answer.
    system: Whether instructions have a message of their own.
    cool: Whether a temperature is named.
  """
  rung: int = 0
  think: int = 0
  limit: str = 'max_tokens'
  system: bool = True
  cool: bool = True


@dataclasses.dataclass(frozen=True)
class Ladder:
  """The ways to ask.

  Attributes:
    rungs: Number of ways in which an answer may be wanted.
    plain: Index of the one that any server should take.
    after: For each way, index of the first that may help where it was answered
      and could not be read.
    thinks: Number of stages of `Form.think`.
    room: The first of them that gives an answer more room.
    bases: What may have to differ for a server to take anything at all.
    hint: Function of a refusal's text and the refused form that returns the
      form that it asks for, or None.
  """
  rungs: int
  plain: int
  after: tuple[int, ...]
  thinks: int
  room: int
  bases: tuple[dict, ...]
  hint: collections.abc.Callable[[str, Form], Form | None]


class Turn:
  """A question under way.

  Attributes:
    alone: Whether there was no other at any time.
  """

  def __init__(self):
    self.alone = True


class Manners:
  """What is known of one server and model. Safe to use from several threads.

  Args:
    ladder: The ways to ask.
  """

  def __init__(self, ladder: Ladder):
    self.ladder = ladder
    self.form = Form()
    self._lock = threading.Lock()
    self._refused: set[Form] = set()
    self._taken: set[Form] = set()
    self._read: set[Form] = set()
    self._misses = 0
    self._lost = 0
    self._stumbles: collections.Counter[Form] = collections.Counter()
    # Questions under way, how many came to nothing, and whether several may
    # be: None until an answer has shown.
    self._turns = threading.Condition(self._lock)
    self._open: list[Turn] = []
    self._vain = 0
    self._tied: bool | None = None
    # A better way that was left, calls since then, and how many it takes.
    self._left: Form | None = None
    self._since = 0
    self._wait = AGAIN

  def refused(self, form: Form, text: str) -> Form | None:
    """Learns of a refusal; returns in which form to ask now, if in any."""
    with self._lock:
      if STATE.search(text) or form in self._taken:
        return None
      if form == self.form:
        self._refused.add(form)
        self.form = self._next(form, text) or self.form
      return None if self.form in self._refused else self.form

  def _next(self, form, text, spent=None):
    ladder = self.ladder
    spent = self._refused if spent is None else spent
    ways = [ladder.hint(text, form)]
    if 0 < form.think < ladder.thinks - 1:
      ways.append(dataclasses.replace(form, think=form.think + 1))
    if self._taken:
      ways += [
          dataclasses.replace(form, rung=i)
          for i in range(form.rung + 1, ladder.rungs)]
    else:
      ways += [
          dataclasses.replace(form, rung=ladder.plain, think=0, **base)
          for base in ladder.bases]
    return next((x for x in ways if x and x not in spent), None)

  def stumbled(self, form: Form) -> None:
    """Learns that the server broke down over a question in this form."""
    with self._lock:
      if form in self._taken or form != self.form:
        return
      self._stumbles[form] += 1
      if self._stumbles[form] >= STUMBLES:
        tired = {x for x, n in self._stumbles.items() if n >= STUMBLES}
        way = self._next(form, '', self._refused | tired)
        if way is None:
          # It was none of them: the server is down.
          self._stumbles.clear()
          way = Form()
        self.form = way

  @contextlib.contextmanager
  def turn(self) -> collections.abc.Iterator[Turn]:
    """Waits until a question may be put, and is one under way.

    Raises:
      FailedCall: The question before came to nothing, so that this one would
        have to wait as long; it was not sent.
    """
    turn, vain = Turn(), self._vain
    with self._turns:
      self._turns.wait_for(
          lambda: self._tied or not self._open or self._vain != vain)
      if self._vain != vain and not self._tied:
        error = errors.FailedCall(
            'The server failed over the question before this one, which was'
            ' not sent.')
        error.paid = False
        raise error
      for x in self._open:
        x.alone = turn.alone = False
      self._open.append(turn)
    try:
      yield turn
    except errors.FailedCall:
      with self._turns:
        self._vain += 1
      raise
    finally:
      with self._turns:
        self._open.remove(turn)
        self._turns.notify_all()

  def check(self, turn: Turn, tied: bool) -> None:
    """Raises unless an answer can only be that to its question.

    Args:
      turn: The question's.
      tied: Whether the answer has its tag.

    Raises:
      MixedUp: It may be another's.
    """
    with self._turns:
      if tied:
        # Where answers were mixed up once it stays at one at a time.
        self._tied = self._tied is not False
        self._turns.notify_all()
    if not tied and not turn.alone:
      raise errors.MixedUp()

  def mixed_up(self) -> None:
    """Learns that answers are mixed up: from now on, one at a time."""
    with self._lock:
      self._tied = False

  def hopeless(self) -> bool:
    """Learns that a question was refused in every form; returns whether any
    other would be."""
    with self._lock:
      if self._taken:
        return False
      self._lost += 1
      self._refused.clear()
      self.form = Form()
      return self._lost >= LOST

  def taken(self, form: Form) -> None:
    """Learns that a form was answered."""
    with self._lock:
      first = not self._taken
      self._taken.add(form)
      if first and form == self.form:
        # Found by the plainest question: now for the best one.
        self.form = next(
            x for x in (
                dataclasses.replace(form, rung=i)
                for i in range(form.rung + 1))
            if x not in self._refused)

  def known(self) -> bool:
    """Returns whether anything was ever answered."""
    with self._lock:
      return bool(self._taken)

  def read(self, form: Form) -> None:
    """Learns that an answer could be read."""
    with self._lock:
      self._read.add(form)
      self._misses = 0
      if self._left is None:
        return
      self._since += 1
      if self._since >= self._wait:
        self.form, self._left = self._left, None
        self._misses = PATIENCE - 1
        self._since, self._wait = 0, 2 * self._wait

  def unreadable(self, form: Form, sure: bool) -> None:
    """Learns that an answer could not be read.

    Args:
      form: How it was asked.
      sure: Whether this is due to the form rather than to the question.
    """
    with self._lock:
      if form != self.form:
        return
      self._misses += 1
      if self._misses < PATIENCE and not (sure and form not in self._read):
        return
      lower = [
          x for x in (
              dataclasses.replace(form, rung=i)
              for i in range(self.ladder.after[form.rung], self.ladder.rungs))
          if x not in self._refused]
      if lower:
        self._misses = 0
        self._left = self._left or form
        self._since = 0
        self.form = lower[0]

  def thought(self, form: Form) -> bool:
    """Learns that a model spent an answer on reasoning.

    Returns:
      Whether something will be done about it from now on.
    """
    with self._lock:
      if form != self.form:
        return True
      # What was taken and did not help is not asked for more politely.
      think = self.ladder.room if form.think else 1
      if form.think >= self.ladder.room or think >= self.ladder.thinks:
        return False
      self.form = dataclasses.replace(form, think=think)
      return True


_known: dict[tuple[str, str], Manners] = {}
_lock = threading.Lock()


def of(server: str, model: str, ladder: Ladder) -> Manners:
  """Returns what this process knows of a server and model."""
  with _lock:
    return _known.setdefault((server, model), Manners(ladder))


def forget() -> None:
  """Forgets all servers, for tests."""
  with _lock:
    _known.clear()
