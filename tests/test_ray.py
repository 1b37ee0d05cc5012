"""Runs on a cluster of two workers, as `make test-ray` starts it."""

import json
import pathlib
import textwrap

import pytest

from lore_plugin.runs import ablate

ROOT = pathlib.Path(__file__).parents[1]
SUITE = """
  name: small
  steps: 80
  seeds: 2
  tasks: [minigrid_Empty-5x5]
  configs: [minigrid, debug]
  overrides: {run.log_every: 1, logger.outputs: jsonl}
  arms:
    uniform: {overrides: {random_agent: True}}
"""


@pytest.mark.slow
@pytest.mark.needs('LORE_RAY', 'make test-ray')
def test_two_workers(tmp_path, monkeypatch):
  pytest.importorskip('ray', reason='Ray is not installed: pip install ray')
  monkeypatch.setenv('PYTHONPATH', str(ROOT))
  monkeypatch.setenv('RAY_USAGE_STATS_ENABLED', '0')
  # Another cluster on this machine is none of ours.
  monkeypatch.delenv('RAY_ADDRESS', raising=False)
  path, out = tmp_path / 'small.yaml', tmp_path / 'runs'
  path.write_text(textwrap.dedent(SUITE))
  ablate.main([
      str(path), '--out', str(out), '--jobs', '2', '--engine', 'ray'])
  found = json.loads((out / 'results/small/runs.json').read_text())
  assert [x['status'] for x in found] == ['finished'] * 2
  assert all(x['seconds'] > 0 for x in found)
  assert {x['seed'] for x in found} == {0, 1}
  assert len({x['summary']['seconds'] for x in found}) == 2
