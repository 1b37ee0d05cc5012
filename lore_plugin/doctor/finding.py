"""What a check found, and how findings are shown."""

import collections
import dataclasses
from collections.abc import Iterable, Sequence

VERDICTS = ('ok', 'warning', 'problem', 'unknown')


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
  """What a check found.

  Attributes:
    check: Its name.
    verdict: One of `VERDICTS`.
    evidence: What was measured, or why it could not be.
    change: What to do about it; '' if nothing.
  """
  check: str
  verdict: str
  evidence: str
  change: str = ''

  def __post_init__(self):
    assert self.verdict in VERDICTS, self.verdict
    assert self.evidence, self.check


def overall(findings: Iterable[Finding]) -> str:
  """Returns the worst verdict; what is unknown weighs less than a warning."""
  found = {x.verdict for x in findings}
  return next(
      x for x in ('problem', 'warning', 'unknown', 'ok')
      if x in found or x == 'ok')


def table(findings: Sequence[Finding]) -> str:
  """Formats findings for the terminal."""
  lines = []
  for x in findings:
    lines.append(f'{x.verdict:<8} {x.check}: {x.evidence}')
    if x.change:
      lines.append(f'{"":<8} -> {x.change}')
  count = collections.Counter(x.verdict for x in findings)
  lines.append(', '.join(f'{count[x]} {x}' for x in VERDICTS))
  return '\n'.join(lines)
