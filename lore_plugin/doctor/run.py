"""Examines a run, or the installation, and says what to change.

  python -m lore_plugin doctor LOGDIR [--json]
  python -m lore_plugin doctor [--json] [--lore.advisor.provider NAME ...]
  python -m lore_plugin doctor --contract

Each check gives a verdict with its evidence: `ok`; `warning`, look at it;
`problem`, results will suffer; `unknown`, the logs can't tell, and why. A
check that could not be made is never counted as passed. The exit code is 1 if
there is a problem. --contract prints what is relied on in upstream.

The checks of a run read config.yaml, metrics.jsonl, scores.jsonl,
episodes.jsonl, summary.json and the checkpoint in its logdir, whether it has
finished or not.
"""

import dataclasses
import json
import sys
from collections.abc import Sequence

from .. import errors
from ..upstream import contract
from . import advice
from . import calls
from . import install
from . import learning
from . import log as loglib
from .finding import Finding
from .finding import overall
from .finding import table


def main(argv: Sequence[str] | None = None) -> None:
  """Runs the command.

  Raises:
    LoreError: There is no run to examine.
    SystemExit: With code 1, if there is a problem.
  """
  argv = list(sys.argv[1:] if argv is None else argv)
  if argv[:1] in (['--help'], ['-h'], ['help']):
    print(__doc__)
    return
  if argv == ['--contract']:
    print(contract.table())
    return
  plain = '--json' not in argv
  argv = [x for x in argv if x != '--json']
  if argv and not argv[0].startswith('--'):
    if len(argv) > 1:
      raise errors.ConfigError(
          f'Found {argv[1]!r} after the logdir. Type: python -m lore_plugin '
          'doctor LOGDIR [--json]')
    findings = examine(loglib.read(argv[0]))
  else:
    findings = install.examine(argv)
  if plain:
    print(table(findings))
  else:
    print(json.dumps({
        'verdict': overall(findings),
        'findings': [dataclasses.asdict(x) for x in findings]}, indent=1))
  if overall(findings) == 'problem':
    raise SystemExit(1)


def examine(log: loglib.Log) -> list[Finding]:
  """Makes all checks of a run. Returns a list of `Finding`."""
  return [check(log) for check in CHECKS]


def check_log(log: loglib.Log) -> Finding:
  """Whether the run finished, and whether its logs are whole."""
  name = 'log'
  total = log.config.get('run.steps', 0)
  evidence = (
      f'{log.end:,} of {total:,.0f} steps logged, {len(log.steps):,} episodes')
  if log.broken > 1:
    return Finding(
        name, 'warning', f'{evidence}, {log.broken} lines that can\'t be read',
        'A full disk or several runs in one logdir do that. Give each run a '
        'logdir of its own.')
  if log.ahead:
    return Finding(
        name, 'problem' if log.summary else 'warning',
        f'{evidence}. {log.ahead}',
        'Started again with the same --logdir, it goes on from the '
        'checkpoint. It saves every --run.save_every seconds.')
  if log.summary is None:
    return Finding(
        name, 'warning', f'{evidence}; no summary.json: the run is under way '
        'or was stopped', 'Started again with the same --logdir, it goes on.')
  if not len(log.steps):
    return Finding(
        name, 'warning', f'{evidence}', 'No episode has ended. Train longer.')
  return Finding(name, 'ok', evidence)


CHECKS = (
    check_log, learning.check_reconstruction, learning.check_values,
    advice.check_gate, advice.check_kl, advice.check_uplift, calls.check_cache,
    calls.check_budget, calls.check_failures, learning.check_alone)
