"""Runs on a cluster of two workers, as `make test-ray` starts it."""

import pathlib
import textwrap

import pytest

from lore_plugin.runs import ablate
from lore_plugin.runs import engine as engines
from lore_plugin.runs import results

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
  found = results.read_records(out / 'results/small')
  assert [x.status for x in found] == ['finished'] * 2
  assert all(x.seconds > 0 for x in found)
  assert {x.seed for x in found} == {0, 1}
  assert len({x.summary['seconds'] for x in found}) == 2


@pytest.mark.slow
@pytest.mark.needs('LORE_RAY', 'make test-ray')
def test_a_cluster_that_is_there(tmp_path, monkeypatch):
  """It is joined; how many cores it has is not ours to say."""
  ray = pytest.importorskip('ray', reason='pip install ray')
  from ray.cluster_utils import Cluster
  cluster = Cluster(initialize_head=True, head_node_args={'num_cpus': 2})
  monkeypatch.setenv('RAY_ADDRESS', cluster.address)
  engine = engines.make('ray', 5)
  try:
    assert ray.cluster_resources()['CPU'] == 2
    job = engines.Job(
        ('true',), {}, str(tmp_path), str(tmp_path / 'out'),
        str(tmp_path / 'lock'))
    assert engine.call(job) == 0
  finally:
    engine.close()
    cluster.shutdown()
