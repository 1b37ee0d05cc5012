"""Everything a user can do wrong, as one tree.

  LoreError
  ├── ConfigError        a key or a value that no configuration allows
  ├── UpstreamError      dreamerv3 is missing, or is not what we know
  ├── EnvError           a task or an action space that can't be advised
  └── AdvisorError       the advisor can't be set up, or a call failed
      ├── MissingKey       no API key in the environment
      ├── ModelFileError   the model file is missing or can't be read
      ├── StoreError       the advice file can't be used
      └── CallError        one call to a provider failed
          ├── RejectedCall   asking again won't help: key, model, request
          ├── BusyCall       rate limit or overload; try later
          ├── FailedCall     no connection, no time, broken answer
          ├── ParseError     an answer arrived that can't be read
          │   ├── RejectedState  this question is refused; others may not be
          │   └── MixedUp        the answer is that to another question
          ├── RefusedCall    the advisor's server makes no call now
          └── ReplayError    the file to answer from lacks the answer

Every message says what was found, what is allowed and what to type next. All
but CallError are raised before the first environment step; a CallError never
leaves the advisor, except for ReplayError where a strict replay was asked for.
"""

import difflib
from collections.abc import Iterable, Sequence


class LoreError(Exception):
  """The root of the tree."""


class ConfigError(LoreError, ValueError):
  pass


class UpstreamError(LoreError, ImportError):
  pass


class EnvError(LoreError, ValueError):
  pass


class AdvisorError(LoreError):
  pass


class MissingKey(AdvisorError):
  pass


class ModelFileError(AdvisorError):
  pass


class StoreError(AdvisorError):
  pass


class CallError(AdvisorError):
  """One call failed.

  Args:
    message: What happened, without secrets.
    retry_after: Seconds the server asks us to wait, or None.

  Attributes:
    paid: Whether the call may have been paid for all the same.
    tokens: Tokens that were spent all the same; None if unknown.
    money: US dollars that were spent all the same; None if unknown.
    raw: The answer, if one arrived.
  """

  paid = True
  tokens: int | None = None
  money: float | None = None
  raw = ''

  def __init__(self, message: str, retry_after: float | None = None):
    super().__init__(message)
    self.retry_after = retry_after


class RejectedCall(CallError):
  paid = False


class BusyCall(CallError):
  paid = False


class FailedCall(CallError):
  pass


class ParseError(CallError):
  pass


class RejectedState(ParseError):
  """The provider takes no offence at us, only at this question.

  A content filter, or a text that is too long. The question isn't put again;
  where many in a row are refused, the provider is not asked any more.
  """

  paid = False


class MixedUp(ParseError):
  """The answer belongs to another question.

  Args:
    found: The tag that it has; '' if none.
    wanted: That of the question.
  """

  def __init__(self, found: str = '', wanted: str = ''):
    super().__init__(
        f'The answer has the tag {found} of another question, not {wanted}: it'
        ' was mixed up on its way, or copied badly. It is not used.' if found
        else
        'The answer has no tag, though others had, and may be that to another'
        ' question. It is not used; from now on one is asked at a time.')


class RefusedCall(CallError):
  """The server did not ask.

  Args:
    reason: Why, as the advisor's counters name it: 'budget'.
  """

  paid = False

  def __init__(self, reason: str):
    super().__init__(f'The server makes no call: {reason}.')
    self.reason = reason


class ReplayError(CallError):
  paid = False


def meant(close: Sequence[str]) -> str:
  """Returns ' Did you mean ...?' of up to three names, or '' of none."""
  return f' Did you mean {" or ".join(close[:3])}?' if close else ''


def choose(
    value: str, allowed: Iterable[str], what: str,
    error: type[LoreError] = ConfigError) -> str:
  """Returns value if allowed, else raises an error naming the choices."""
  allowed = list(allowed)
  if value not in allowed:
    close = difflib.get_close_matches(str(value), allowed, 1)
    raise error(
        f'Unknown {what} {value!r}.{meant(close)} Choose from: '
        f'{", ".join(allowed)}.')
  return value
