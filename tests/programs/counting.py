"""Takes the place of a training run where a test is about many of them.

Counts to --run.steps, from where it was, and writes the files that a run
writes. SLOW is the time of a step in seconds; runs of the task named by FAIL
fail as often as FAILURES says, counted in the file FAILED.
"""

import json
import os
import pathlib
import sys
import time


def main(flags):
  logdir = pathlib.Path(flags['--logdir'])
  fail = os.environ.get('FAIL')
  if fail and fail == flags['--task']:
    path = pathlib.Path(os.environ['FAILED'])
    count = len(path.read_text()) if path.exists() else 0
    if count < int(os.environ['FAILURES']):
      path.write_text('x' * (count + 1))
      print('no luck')
      sys.exit(3)
  saved = logdir / 'saved'
  start = int(saved.read_text()) if saved.exists() else 0
  print(f'from {start}', flush=True)
  for step in range(start + 1, int(flags['--run.steps']) + 1):
    time.sleep(float(os.environ.get('SLOW', 0)))
    with (logdir / 'scores.jsonl').open('a') as f:
      f.write(json.dumps({'step': step, 'episode/score': step % 2}) + '\n')
    temp = logdir / 'temp'
    temp.write_text(str(step))
    temp.replace(saved)
  (logdir / 'summary.json').write_text(json.dumps({
      'task': flags['--task'], 'seed': int(flags['--seed']),
      'steps_to_goal': None}))


if __name__ == '__main__':
  args = sys.argv[1:]
  main({x: y for x, y in zip(args, args[1:]) if x.startswith('--')})
