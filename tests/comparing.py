"""Compares what two runs left, bit for bit."""

import json
import math
import pickle

import numpy as np

# Values that tell how long something took, or how busy the machine is.
TIMED = ('fps/', 'usage/', 'timer', 'replay/ram_gb')


def metrics(logdir):
  rows = [json.loads(x) for x in
          (logdir / 'metrics.jsonl').read_text().splitlines()]
  # NaN is unequal to itself.
  clean = lambda v: (
      'nan' if isinstance(v, float) and math.isnan(v) else v)
  return [{k: clean(v) for k, v in row.items() if not k.startswith(TIMED)}
          for row in rows]


def agent(logdir, name):
  folder = logdir / name / (logdir / name / 'latest').read_text().strip()
  return pickle.loads((folder / 'agent.pkl').read_bytes())


def steps(logdir):
  """All that replay holds: chunks in the order of time, as their names say."""
  chunks = [dict(np.load(x)) for x in sorted((logdir / 'replay').glob('*'))]
  return [x for x in chunks if len(x['action'])]


def compare(one, two, name):
  ours, theirs = metrics(one), metrics(two)
  assert len(theirs) > 10
  assert ours == theirs
  losses = [x['train/loss/policy'] for x in theirs if 'train/loss/policy' in x]
  assert len(set(losses)) > 5, 'the runs must have trained'
  ours, theirs = agent(one, name), agent(two, name)
  assert ours['counters'] == theirs['counters']
  assert ours['counters']['updates'] > 20
  assert ours['params'].keys() == theirs['params'].keys()
  for key, value in theirs['params'].items():
    assert ours['params'][key].dtype == value.dtype, key
    assert ours['params'][key].tobytes() == value.tobytes(), key
  compare_steps(one, two)


def compare_steps(one, two):
  """All that replay holds."""
  ours, theirs = steps(one), steps(two)
  assert len(ours) == len(theirs) >= 2
  # stepid holds random identifiers of this process.
  for x, y in zip(ours, theirs, strict=True):
    assert x.keys() == y.keys()
    for key in x.keys() - {'stepid'}:
      assert x[key].tobytes() == y[key].tobytes(), key
