"""One question to a server: in which form it is asked, what an error means."""

import email.utils
import math
import time
from collections.abc import Callable, Mapping
from typing import Any

from ... import errors
from ... import secrets
from . import http
from . import manners


def ask(
    client: http.Transport, sdk: Any, known: manners.Manners,
    send: Callable[[manners.Form], dict],
    fits: Callable[[manners.Form], bool] = lambda form: True
) -> tuple[dict, manners.Form, manners.Turn]:
  """Asks in the best form that a server takes; what it refuses is free.

  Args:
    client: The `Transport`.
    sdk: See `translate`.
    known: The `Manners` of the server and model.
    send: Function of a `Form` that makes the request, and returns the answer.
    fits: Function of a `Form`: whether enough was set aside for it.

  Returns:
    The answer, the form that was taken, and the `Turn` in which.

  Raises:
    CallError: In one of its classes.
  """
  with known.turn() as turn, client.call() as budget:
    form = known.form
    for _ in range(50):
      if not fits(form):
        # Found out by another question since.
        raise errors.RefusedCall('changed')
      try:
        answer = send(form)
      except Exception as e:
        error = translate(sdk, e, known.known(), budget.sent)
        if not isinstance(error, Refusal):
          late = isinstance(e, sdk.APITimeoutError)
          if type(error) is errors.FailedCall and error.paid and not late:
            known.stumbled(form)
          raise error from e
        other = known.refused(form, str(error))
        if other is None:
          if not manners.STATE.search(str(error)) and known.hopeless():
            raise errors.RejectedCall(
                f'{error} So in every form in which it can be asked.') from e
          raise error from e
        form = other
      else:
        known.taken(form)
        return answer, form, turn
  raise Refusal('The server refused every form of the question.')


def translate(
    sdk: Any, error: BaseException, answered: bool = False,
    sent: bool = False) -> errors.CallError:
  """Returns the error of ours that says what an error of an SDK means.

  Args:
    sdk: The module `anthropic` or `openai`; both name their errors alike.
    error: Any exception.
    answered: Whether the server has answered others.
    sent: Whether the request had left.
  """
  cause: BaseException | None = error
  while cause is not None:
    if isinstance(cause, errors.CallError):
      return cause
    cause = cause.__cause__
  if isinstance(error, sdk.APIStatusError):
    return explain(error, answered)
  text = secrets.mask(f'{type(error).__name__}: {error}')[:300]
  if isinstance(error, sdk.APIConnectionError) and not sent:
    # It never came as far as our transport, which gives its own reasons.
    cause = error.__cause__ or error
    text = secrets.mask(f'{type(cause).__name__}: {cause}')[:300]
    out = errors.FailedCall(f'The request can not be sent: {text}')
    out.paid = False
    return out
  return errors.FailedCall(text)


def explain(error: Any, answered: bool = False) -> errors.CallError:
  """Returns what an answer with a status other than 200 means."""
  status, headers = error.status_code, error.response.headers
  text = secrets.mask(str(error.message))[:300]
  message = f'HTTP {status}: {text}'
  if 300 <= status < 400:
    there = secrets.mask(str(headers.get('location', 'nowhere')))[:200]
    return errors.RejectedCall(
        f'HTTP {status}: the server sends us on to {there}, and we don\'t'
        ' follow. If that is the right place, type --lore.advisor.url with'
        ' it.')
  if status == 429 and 'insufficient_quota' in text + str(error.body):
    return errors.RejectedCall(message)
  if manners.BLIND.search(text):
    return errors.RejectedCall(
        f'{message} The model sees no pictures: choose one that does, by'
        ' --lore.advisor.model.')
  if status in (429, 503, 529):
    return errors.BusyCall(message, hint(headers))
  if status in (401, 402) or (
      400 <= status < 500 and manners.HOPELESS.search(text) and
      not manners.STATE.search(text)):
    return errors.RejectedCall(message)
  if status in (408, 409):
    return errors.FailedCall(message)
  if status in (413, 451) or manners.STATE.search(text) and status < 500:
    # This state asks too much; others may not.
    return errors.RejectedState(message)
  if status in (400, 422, 501) or manners.NAMED.search(text):
    # Some servers say by other errors what they don't know.
    return Refusal(message)
  if 400 <= status < 500:
    # If others were answered, this one may be to blame.
    kind = errors.RejectedState if answered else errors.RejectedCall
    return kind(message)
  return errors.FailedCall(message)


class Refusal(errors.RejectedState):
  """The server did not take the request in this form."""


def hint(headers: Mapping[str, str]) -> float | None:
  """Returns the seconds that a server asks us to wait, or None."""
  for name, unit in (('retry-after-ms', 1e-3), ('retry-after', 1.0)):
    text = headers.get(name, '')
    try:
      value = float(text) * unit
    except ValueError:
      try:
        then = email.utils.parsedate_to_datetime(text).timestamp()
      except (TypeError, ValueError, OverflowError):
        continue
      value = max(0.0, then - time.time())
    if math.isfinite(value) and value >= 0:
      return value
  return None
