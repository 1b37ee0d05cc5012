"""The process that advises the runs of a suite which share it."""

import os
import pathlib
import secrets
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence

from .. import errors
from ..advisor.remote import wire
from . import engine as engines
from . import plan
from . import suites

PROGRAM = (sys.executable, '-m', 'lore_plugin')


class Service:
  """An advisor's server process for the runs of a suite.

  Args:
    name: Name for messages.
    folder: Where its replies and its log are kept.
    flags: The configuration, as of a run.
    budget: Caps, see `files.Budget`.
    suite: The suite; its name is that of the ledger's account.
    host: Name or number of this machine as the runs see it.

  Attributes:
    address: 'host:port'; the same after a restart.
    token: What clients must know.
  """

  def __init__(
      self, name: str, folder: pathlib.Path, flags: Sequence[str],
      budget: Mapping[str, float], suite: suites.Suite, host: str):
    self.name = name
    self.folder = folder
    self.output = folder / 'output.txt'
    self.token = secrets.token_hex(16)
    self.address = f'{host}:{wire.free_port(host)}'
    self.env = suite.env
    self.argv = [
        *PROGRAM, 'serve', *flags,
        '--logdir', str(folder), '--lore.advisor.store',
        str((folder / 'advice.sqlite').absolute()),
        '--lore.advisor.account', suite.name,
        '--lore.advisor.address', self.address, *plan.caps(budget)]
    self.proc: subprocess.Popen | None = None

  def start(self, patience: float = 120.0) -> None:
    """Starts the process and waits until it serves.

    Raises:
      AdvisorError: It ended, or does not serve in time.
    """
    self.folder.mkdir(parents=True, exist_ok=True)
    begin = self.output.stat().st_size if self.output.exists() else 0
    with self.output.open('ab') as output:
      self.proc = subprocess.Popen(
          self.argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
          env={**os.environ, **self.env, wire.TOKEN: self.token,
               'PYTHONUNBUFFERED': '1'},
          # An interruption of the terminal is for us; runs still need it.
          start_new_session=True, preexec_fn=engines.die_with_parent)
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
      said = self.output.read_bytes()[begin:].decode('utf-8', 'replace')
      if 'Serving ' in said:
        return
      if self.ended():
        raise errors.AdvisorError(
            f'The advisor {self.name} could not be started: '
            f'{said.strip()[-2000:]}')
      time.sleep(0.05)
    self.close()
    raise errors.AdvisorError(
        f'The advisor {self.name} does not serve after {patience:g} s. Its '
        f'log is {self.output}; share: none does without.')

  def ended(self) -> bool:
    return self.proc is not None and self.proc.poll() is not None

  def close(self) -> None:
    """Ends the process."""
    if self.proc and self.proc.poll() is None:
      self.proc.terminate()
      try:
        self.proc.wait(15)
      except subprocess.TimeoutExpired:
        self.proc.kill()
        self.proc.wait()
