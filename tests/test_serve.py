"""The command `serve`, as a process."""

import os
import signal
import subprocess
import sys

import pytest

from lore_plugin.advisor import store as storelib
from lore_plugin.advisor.remote import client as clientlib
from lore_plugin.advisor.remote import wire
from lore_plugin.advisor.types import Description, Option, Query

pytestmark = pytest.mark.process


@pytest.mark.parametrize('token', ['', 'secret'])
def test_serves_and_ends(tmp_path, token):
  address = f'127.0.0.1:{wire.free_port("127.0.0.1")}'
  command = [
      sys.executable, '-m', 'lore_plugin', 'serve', '--logdir', str(tmp_path),
      '--lore.advisor.provider', 'scripted', '--lore.advisor.address', address]
  env = {k: v for k, v in os.environ.items() if k != wire.TOKEN}
  env |= {wire.TOKEN: token} if token else {}
  with subprocess.Popen(
      command, env=env, stdout=subprocess.PIPE, text=True) as process:
    try:
      assert f'Serving scripted (rules-1) on {address}' in (
          process.stdout.readline())
      client = clientlib.Remote(address, timeout=60.0, token=token)
      query = Query(
          Description('a', 'm', ('left', 'right'), (
              Option('key', (0,)), Option('look', (1,))), version='t-1'),
          ('key', 'look'), 'subgoal')
      assert len(client.ask(query).scores) == 2
      client.close()
      process.send_signal(signal.SIGTERM)
      assert process.wait(120) == 0
    finally:
      process.kill()
  store = storelib.Store(tmp_path / 'advice.sqlite')
  assert store.spent('served')['calls'] == 1
  store.close()
