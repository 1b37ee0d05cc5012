"""Suites whose runs only count, for tests of `ablate`."""

import csv
import gzip
import io
import json
import pathlib
import sys

from lore_plugin.runs import ablate

ROOT = pathlib.Path(__file__).parent.parent
COUNTING = (sys.executable, str(ROOT / 'tests/programs/counting.py'))


def episodes(folder):
  text = gzip.decompress((folder / 'episodes.csv.gz').read_bytes()).decode()
  return list(csv.DictReader(io.StringIO(text)))


def records(folder):
  return json.loads(gzip.decompress(
      (folder / 'runs.json.gz').read_bytes()))


def run(path, out, *args):
  return ablate.main(
      [path, '--out', str(out), *map(str, args)], program=COUNTING)
