"""The parts of benchmarks/gpu.sh, each a process with a limit of its own.

What runs out of time or fails is named in the result, with the end of its
output; the other parts stand.
"""

import argparse
import concurrent.futures
import contextlib
import json
import os
import pathlib
import platform
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
PROGRAMS = ROOT / 'tests' / 'programs'
sys.path.insert(0, str(ROOT / 'tests'))

import comparing  # noqa: E402

get = os.environ.get
PLATFORM = get('PLATFORM', 'cuda')
DTYPE = get('DTYPE', 'bfloat16')
SIZES = get('SIZES', 'size12m size50m').split()
BLOCKS = get('BLOCKS', 'minigrid size12m').split()
STEPS = int(get('STEPS', '2000'))
REPEATS = int(get('REPEATS', '15'))
BUDGET = float(get('BUDGET', '470'))
DEVICE = [
    '--jax.platform', PLATFORM, '--jax.compute_dtype', DTYPE,
    '--jax.prealloc', 'False']
PIXELS = ['--task', 'minigrid_DoorKey-5x5', '--env.minigrid.obs', 'image']
# Of runs that are compared to the bit: tests/test_bitwise.py, test_exact.py.
EXACT = [
    '--logger.outputs', 'jsonl', '--run.envs', '2', '--run.train_ratio', '64',
    '--run.log_every', '-1', '--run.report_every', '0', *DEVICE]
OFF = [
    '--configs', 'debug', '--task', 'dummy_line', '--seed', '3',
    '--run.steps', '160', '--run.save_every', '-1', '--agent.report', 'False',
    *EXACT]
ON = [
    '--configs', 'minigrid', 'debug', 'lore', '--seed', '5',
    '--lore.deterministic', 'True', '--lore.heldout', '0', '--run.steps',
    '240', '--run.save_every', '1e9', '--lore.gate.disagreement', '1',
    '--lore.advisor.provider', 'scripted', *EXACT]
PARTS = ('doctor', 'off', 'on', 'doorkey', 'memory', *SIZES)


class Failed(Exception):
  """A program ended badly, or was ended."""


class Machine:
  """Runs programs until the time is up.

  Args:
    temp: Folder for runs, and for programs that are compiled once.
    until: When the time is up, by `time.time`.
  """

  def __init__(self, temp, until):
    self.temp = temp
    self.until = until
    self.env = {
        **os.environ, 'PYTHONUNBUFFERED': '1',
        'JAX_COMPILATION_CACHE_DIR': str(temp / 'jax'),
        'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0'}

  def run(self, *argv, fine=(0,)):
    """Returns what a program printed on standard output.

    Args:
      *argv: Its arguments.
      fine: Exit codes of success.

    Raises:
      Failed: With the end of its output.
    """
    left = self.until - time.time()
    if left < 1:
      raise Failed('the time is up')
    with tempfile.TemporaryFile('w+', errors='replace') as log:
      process = subprocess.Popen(
          [sys.executable, *map(str, argv)], cwd=ROOT, env=self.env,
          stdout=subprocess.PIPE, stderr=log, text=True,
          start_new_session=True)
      try:
        out, _ = process.communicate(timeout=left)
      except subprocess.TimeoutExpired as e:
        raise Failed(f'the time was up: {" ".join(map(str, argv[:3]))}') from e
      finally:
        with contextlib.suppress(ProcessLookupError):
          os.killpg(process.pid, signal.SIGKILL)
      log.seek(0)
      if process.returncode not in fine:
        raise Failed(f'{out[-1500:]}\n{log.read()[-1500:]}')
      return out

  def doctor(self):
    """The installation."""
    out = self.run(
        '-m', 'lore_plugin', 'doctor', '--json', *DEVICE[:4], fine=(0, 1))
    return json.loads(out[out.index('{'):])

  def off(self):
    """Without lore: upstream's run and ours, bit for bit."""
    from lore_plugin import config as configlib
    from lore_plugin import upstream
    from lore_plugin.upstream import checkpoint
    found = upstream.find()
    folder = self.temp / 'configs'
    folder.mkdir()
    source = found.configs or configlib.folder('patches') / 'dreamerv3.yaml'
    (folder / 'configs.yaml').write_bytes(pathlib.Path(source).read_bytes())
    one, two = self.temp / 'off-lore', self.temp / 'off-upstream'
    self.run(PROGRAMS / 'run_upstream.py', folder, *OFF, '--logdir', two)
    self.run(PROGRAMS / 'run_lore.py', *OFF, '--logdir', one)
    comparing.compare(one, two, checkpoint.folder('', found.version).name)
    return {'same': True}

  def on(self):
    """With lore: the same seed twice."""
    from lore_plugin.upstream import checkpoint
    pair = [self.temp / f'on-{i}' for i in range(2)]
    for logdir in pair:
      self.run('-m', 'lore_plugin', *ON, '--logdir', logdir)
    name = checkpoint.folder(pair[0]).name
    first, second = (comparing.agent(x, name)['params'] for x in pair)
    wrong = [
        k for k in first if first[k].tobytes() != second[k].tobytes()]
    rows = [[
        {k: v for k, v in row.items()
         if not k.startswith(('report/', 'train/advisor/'))}
        for row in comparing.metrics(x)] for x in pair]
    same = not wrong and rows[0] == rows[1]
    return {
        'same': same, 'parameters': len(first), 'rows': len(rows[0]),
        'advised': max(x.get('train/lore/advised', 0) for x in rows[0]),
        **({} if same else {'differ': wrong[:5]})}

  def doorkey(self):
    """A whole run on pixels, with the embedded model."""
    from lore_plugin import logdir as logdirlib
    logdir = self.temp / 'doorkey'
    start = time.time()
    self.run(
        '-m', 'lore_plugin', '--configs', *BLOCKS, 'lore', *PIXELS, *DEVICE,
        '--logdir', logdir, '--run.steps', STEPS, '--lore.heldout', '20',
        '--run.log_every', '5', '--lore.advisor.provider', 'local')
    rows = logdirlib.read_metrics(logdir)
    speed = [x['fps/policy'] for x in rows if 'fps/policy' in x]
    summary = json.loads((logdir / 'summary.json').read_text())
    return {
        'blocks': BLOCKS, 'steps': STEPS, 'seconds_run': time.time() - start,
        'steps_per_second': speed[-1] if speed else None,
        'summary': summary}

  def memory(self):
    """Peak of each agent alone, in bytes on the device; and of the host."""
    out = {}
    for size in SIZES:
      for kind in ('upstream', 'lore'):
        text = self.run(
            ROOT / 'benchmarks' / 'overhead.py', '--worker', kind, '--configs',
            size, *PIXELS, *DEVICE)
        out[f'{size} {kind}'] = json.loads(text.splitlines()[-1])
    return out

  def size(self, size):
    """Gradient and policy steps beside upstream's."""
    text = self.run(
        ROOT / 'benchmarks' / 'overhead.py', '--only', 'steps', '--json',
        '--repeats', REPEATS, '--configs', size, *PIXELS, *DEVICE)
    return json.loads(text.splitlines()[-1])


def about():
  """Returns the machine in words."""
  import importlib.metadata as packages
  found = {
      'python': platform.python_version(), 'cores': os.cpu_count(),
      'platform': PLATFORM, 'dtype': DTYPE}
  for name in ('jax', 'jax-cuda12-plugin', 'jax-cuda13-plugin'):
    with contextlib.suppress(packages.PackageNotFoundError):
      found[name] = packages.version(name)
  for key, argv in {
      'gpu': ['nvidia-smi', '--format=csv,noheader',
              '--query-gpu=name,driver_version,memory.total'],
      'commit': ['git', 'rev-parse', 'HEAD']}.items():
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
      found[key] = subprocess.check_output(
          argv, text=True, cwd=ROOT, stderr=subprocess.DEVNULL).strip()
  return found


def measure(machine, name):
  """Makes one part. Returns its result, with its seconds."""
  start = time.time()
  print(f'{name} ...', file=sys.stderr, flush=True)
  try:
    part = getattr(machine, name, None)
    out = part() if part else machine.size(name)
  except Exception as e:
    out = {'error': f'{type(e).__name__}: {e}'[-3000:]}
  out['seconds'] = round(time.time() - start, 1)
  print(f'{name}: {out["seconds"]} s' + (
      f', {out["error"][:200]}' if 'error' in out else ''),
      file=sys.stderr, flush=True)
  return out


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--begin', type=float, default=time.time())
  args = parser.parse_args()
  wanted = get('PARTS', '').split() or list(PARTS)
  if unknown := [x for x in wanted if x not in PARTS]:
    parser.error(f'PARTS has {unknown}. Choose from: {" ".join(PARTS)}.')
  with tempfile.TemporaryDirectory(prefix='lore-gpu-') as temp:
    machine = Machine(pathlib.Path(temp), args.begin + BUDGET)
    results = {}
    # What is right or wrong goes at once; what is timed has the machine to
    # itself.
    right = [x for x in wanted if x in ('doctor', 'off', 'on')]
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
      results.update(zip(right, pool.map(
          lambda name: measure(machine, name), right)))
    timed = [x for x in wanted if x not in right]
    # Sizes before memory, which then finds its programs compiled.
    for name in sorted(timed, key=[*SIZES, 'doorkey', 'memory'].index):
      results[name] = measure(machine, name)
  print(json.dumps({
      'machine': about(), 'seconds': round(time.time() - args.begin, 1),
      **{name: results[name] for name in wanted}}))
  sys.exit(any('error' in x for x in results.values()))


if __name__ == '__main__':
  main()
