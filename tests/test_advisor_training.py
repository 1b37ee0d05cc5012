"""Real training runs whose advisor is asked over a server that fails.

  LORE_FAULTS=TABLE.md python -m pytest tests/test_advisor_training.py

makes one run for each kind of fault and each SDK, and writes what happened to
the file; without it there are a few.
"""

import json
import os
import pathlib
import subprocess
import sys

import pytest
from faults import FAULTS

from lore_plugin.advisor import asker

pytest.importorskip('openai')
pytestmark = [pytest.mark.slow, pytest.mark.long]

ROOT = pathlib.Path(__file__).parents[1]
STEPS = 300
TABLE = os.environ.get('LORE_FAULTS', '')
RUNS = [
    (sdk, kind) for kind in FAULTS for sdk in ('anthropic', 'openai')
] if TABLE else [
    ('anthropic', 'good'), ('anthropic', '401'), ('openai', '500'),
    ('anthropic', 'nan'), ('openai', 'half a body')]


@pytest.fixture(scope='module')
def results(env, tmp_path_factory):
  """Makes all runs in one process. Returns what each counted."""
  program = ROOT / 'tests' / 'programs' / 'run_faults.py'
  folder = tmp_path_factory.mktemp('runs')
  result = subprocess.run(
      [sys.executable, program, folder, *(x for run in RUNS for x in run)],
      env=env, capture_output=True, text=True, timeout=300 + 60 * len(RUNS),
      check=False)
  found = [
      json.loads(x.removeprefix('RESULT ')) for x in result.stdout.splitlines()
      if x.startswith('RESULT ')]
  if TABLE:
    pathlib.Path(TABLE).write_text(table(found), encoding='utf-8')
  assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-4000:]
  assert 'sk-fake-12x' not in result.stdout + result.stderr
  return {(x['sdk'], x['kind']): x for x in found}


def table(found):
  """Returns what the runs counted, as Markdown."""
  columns = (
      'fault', 'SDK', 'steps', 'updates', 'requests', 'calls in the ledger',
      'answered states', 'failures', 'refusals')
  rows = [columns, ['---'] * len(columns)]
  for x in found:
    named = lambda prefix, stats=x['stats']: ', '.join(
        f'{v:.0f} {k.removeprefix(prefix)}' for k, v in sorted(stats.items())
        if k.startswith(prefix))
    rows.append((
        x['kind'], x['sdk'], x['steps'], x['updates'], x['requests'],
        x['spent'], int(x['stats'].get('answered', 0)), named('failures_'),
        named('refused_')))
  return ''.join(f'| {" | ".join(map(str, row))} |\n' for row in rows)


@pytest.mark.parametrize('sdk, kind', RUNS)
def test_goes_on_to_its_end(results, sdk, kind):
  got = results[sdk, kind]
  stats = got['stats']
  # It trained as any run does, whatever the advisor did.
  assert got['steps'] >= STEPS and got['updates'] >= 10 and got['finite']
  want = FAULTS[kind][1]
  failed = {
      k.removeprefix('failures_') for k in stats if k.startswith('failures_')}
  if want is None:
    # SDKs differ in whether they let it through.
    assert failed <= {'failed', 'parse'}
  elif want == 'parse':
    assert 'parse' in failed <= {'parse', 'rejected'}
  else:
    assert failed == ({want} if want else set())
  answered = stats.get('answered', 0)
  if want == '':
    # The world has eight places; each was asked about once.
    assert 3 < answered == got['requests'] == stats['calls'] <= 8
    assert stats['hit_rate'] > 0.5
  elif want:
    assert not answered and not stats.get('hits')
  if want == 'rejected':
    assert got['requests'] == 1 and stats['refused_stopped'] > 200
  if want == 'busy':
    assert got['requests'] == stats['failures_busy'] < 10
    assert stats['refused_busy'] > 200
  if want == 'failed':
    # Two open the circuit; one more may have been under way.
    assert 2 <= stats['failures_failed'] <= 3 and stats['refused_open'] > 200
  if want == 'parse':
    # Twice for each state, then never again; nor after so many in a row.
    most = min(2 * stats['states'], asker.UNREADABLE)
    assert stats['failures_parse'] == got['requests'] <= most
    assert ('rejected' in failed) == (got['requests'] == asker.UNREADABLE)
    refused = [stats.get(f'refused_{x}', 0) for x in ('failed', 'stopped')]
    assert sum(refused) > 200
  # What can't have been paid gave back its call.
  assert got['spent'] == stats.get('calls', 0) <= got['requests']
  if want in ('rejected', 'busy'):
    assert got['spent'] == 0
