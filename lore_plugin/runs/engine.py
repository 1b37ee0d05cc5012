"""Where the runs of a suite are executed: on this machine, or on Ray.

  ablate -> engine.call(Job) -> launch(Job) -> python -m lore_plugin ...

`launch` is the same code here and in a Ray worker. It holds a lock that the
process which it starts inherits, so that a run whose parents were killed is
not started a second time while it still goes on.
"""

import contextlib
import ctypes
import dataclasses
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, IO

from .. import errors

# Exit code for a run that another process is executing.
BUSY = -1000
# Seconds to wait for a lock. A process that another thread is about to start
# has a copy of every lock of ours until it executes its program. Given back
# meanwhile, a lock is held for that moment by nobody who means it.
PATIENCE = 0.5
LIBC = ctypes.CDLL(None) if sys.platform.startswith('linux') else None


@dataclasses.dataclass(frozen=True, slots=True)
class Job:
  """One process.

  Attributes:
    argv: What to execute.
    env: Environment variables to set beside those that are there.
    cwd: Folder to execute it in.
    output: File that its output is appended to.
    lock: File that is locked while it lives.
    threads: CPU threads that it uses.
  """
  argv: tuple[str, ...]
  env: dict
  cwd: str
  output: str
  lock: str
  threads: int = 1


def launch(
    job: Job, core: int | None = None,
    started: Callable[[subprocess.Popen], object] | None = None) -> int:
  """Executes a job and waits for its end.

  The process is killed if the calling thread dies before it.

  Args:
    job: The job.
    core: Number of the core to keep it on, or None.
    started: Called with the `subprocess.Popen`.

  Returns:
    Its exit code, negative for a signal, or `BUSY`.
  """
  with locked(job.lock) as lock:
    if lock is None:
      return BUSY
    with open(job.output, 'ab') as output:
      proc = subprocess.Popen(
          list(job.argv), stdin=subprocess.DEVNULL, stdout=output,
          stderr=output, cwd=job.cwd, env={**os.environ, **job.env},
          pass_fds=(lock.fileno(),),
          preexec_fn=die_with_parent)
    if core is not None and hasattr(os, 'sched_setaffinity'):
      with contextlib.suppress(OSError):
        os.sched_setaffinity(proc.pid, {core})
    if started:
      started(proc)
    try:
      return proc.wait()
    except BaseException:
      proc.kill()
      raise


@contextlib.contextmanager
def locked(path: str | os.PathLike) -> Iterator[IO[bytes] | None]:
  """Locks a file, waiting `PATIENCE` seconds at most.

  Yields:
    The open file, or None if another process has locked it.
  """
  pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
  with open(path, 'ab') as file:
    deadline = time.monotonic() + PATIENCE
    while not (mine := acquire(file)) and time.monotonic() < deadline:
      time.sleep(0.01)
    yield file if mine else None


def acquire(file: IO[bytes]) -> bool:
  """Locks an open file, without waiting. Returns whether it is ours now."""
  try:
    import fcntl
  except ImportError as e:
    raise errors.LoreError(
        'Suites need file locks as Linux and macOS have them.') from e
  try:
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except BlockingIOError:
    return False
  return True


def die_with_parent() -> None:
  """Makes this process end with the thread that started it, on Linux.

  So that nothing goes on without advice, or unseen, after a SIGKILL. Called
  between fork and exec, where little is safe: the library is loaded before.
  """
  if LIBC:
    LIBC.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


class Local:
  """Executes jobs on this machine.

  Args:
    jobs: Jobs at a time, at least 1.
    pin: Whether to keep each on one of the cores that we may use.

  Attributes:
    host: This machine, as the jobs see it.
  """

  def __init__(self, jobs: int, pin: bool = False):
    self.jobs = jobs
    self.host = '127.0.0.1'
    self._procs: set[subprocess.Popen] = set()
    self._lock = threading.Lock()
    self._stopped = False
    cores = sorted(os.sched_getaffinity(0)) if hasattr(
        os, 'sched_getaffinity') else []
    self._cores = cores[:jobs] if pin and jobs <= len(cores) else None
    if pin and not self._cores:
      raise errors.ConfigError(
          f'--pin gives each of {jobs} jobs a core, but there are '
          f'{len(cores)}. Type --jobs {max(1, len(cores))}.')

  def call(self, job: Job) -> int:
    """Executes a job and waits for it. Returns its exit code."""
    with self._lock:
      if self._stopped:
        return -signal.SIGTERM
      core = self._cores.pop() if self._cores is not None else None
    mine: list[subprocess.Popen] = []
    def started(proc):
      mine.append(proc)
      self._add(proc)
    try:
      return launch(job, core, started)
    finally:
      with self._lock:
        self._procs.difference_update(mine)
        if core is not None:
          assert self._cores is not None  # It was taken from there.
          self._cores.append(core)

  def _add(self, proc):
    with self._lock:
      self._procs.add(proc)
      if self._stopped:
        proc.terminate()

  def stop(self) -> None:
    """Ends what is running, kindly first; nothing starts any more."""
    with self._lock:
      self._stopped = True
      procs = list(self._procs)
    for proc in procs:
      proc.terminate()
    for proc in procs:
      try:
        proc.wait(10)
      except subprocess.TimeoutExpired:
        proc.kill()

  def close(self) -> None:
    self.stop()


class Ray:
  """Executes jobs on a Ray cluster whose machines share the runs' folder.

  Args:
    jobs: Jobs at a time; the cluster's cores may allow fewer.
    address: The cluster, as `ray.init` takes it; '' joins the one that the
      environment names or that runs on this machine, or starts one.

  Raises:
    ConfigError: Ray is not installed.
    LoreError: It does not start.
  """

  def __init__(self, jobs: int, address: str = ''):
    try:
      import ray
    except ImportError as e:
      raise errors.ConfigError(
          'The engine ray needs Ray. Type pip install ray, or --engine local.'
      ) from e
    self.ray = ray
    self.jobs = jobs
    self.host = '127.0.0.1'
    self._refs: set[Any] = set()
    self._lock = threading.Lock()
    self._stopped = False
    self._ours = not ray.is_initialized()
    if self._ours:
      address = address or os.environ.get('RAY_ADDRESS', 'auto')
      try:
        joined = self._start(address)
      except Exception as e:
        raise errors.LoreError(
            f'Ray did not start: {type(e).__name__}: {e}. It gives up after '
            'half a minute on a machine whose cores are all busy. Start it '
            'by hand, `ray start --head`, or type --engine local.') from e
      if joined:
        # Runs on other machines must reach the advisor on this one.
        self.host = ray.util.get_node_ip_address()

  def _start(self, address):
    """Joins a cluster or starts one. Returns whether there was one."""
    options = {'include_dashboard': False, 'log_to_driver': False}
    try:
      self.ray.init(address=address, **options)
      return address != 'local'
    except ConnectionError:
      if address != 'auto':
        raise
    # How many cores there are is said to a cluster that begins, and to no
    # other. Its workers get the lowest priority by default, which on a busy
    # machine is none.
    os.environ.setdefault('RAY_worker_niceness', '0')
    self.ray.init(address='local', num_cpus=self.jobs, **options)
    return False

  def call(self, job: Job) -> int:
    """Executes a job and waits for it. Returns its exit code."""
    # A worker that dies counts as a failed run, which ablate repeats itself.
    task = self.ray.remote(
        num_cpus=job.threads, max_retries=0)(launch)
    with self._lock:
      if self._stopped:
        return -signal.SIGTERM
      ref = task.remote(job)
      self._refs.add(ref)
    try:
      return self.ray.get(ref)
    except self.ray.exceptions.RayError:
      return -signal.SIGTERM if self._stopped else 1
    finally:
      with self._lock:
        self._refs.discard(ref)

  def stop(self) -> None:
    """Ends what is running; nothing starts any more."""
    with self._lock:
      self._stopped = True
      refs = list(self._refs)
    for ref in refs:
      with contextlib.suppress(Exception):
        self.ray.cancel(ref, force=True)

  def close(self) -> None:
    self.stop()
    if self._ours:
      self.ray.shutdown()


ENGINES = {'local': Local, 'ray': Ray}


def make(name: str, jobs: int, pin: bool = False) -> Local | Ray:
  """Returns an engine by name.

  Raises:
    ConfigError: Unknown name, Ray is missing, or more jobs than cores to pin.
  """
  errors.choose(name, ENGINES, 'engine')
  return Local(jobs, pin) if name == 'local' else Ray(jobs)
