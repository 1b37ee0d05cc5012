"""The command `serve`, as a process."""

import os
import signal
import subprocess
import sys

import pytest

from lore_plugin import errors
from lore_plugin.advisor import asker as askerlib
from lore_plugin.advisor import database
from lore_plugin.advisor import store as storelib
from lore_plugin.advisor.providers.mock import Mock
from lore_plugin.advisor.remote import client as clientlib
from lore_plugin.advisor.remote import serve as servelib
from lore_plugin.advisor.remote import server as serverlib
from lore_plugin.advisor.remote import wire
from lore_plugin.advisor.types import Description, Option, Query

pytestmark = pytest.mark.process

QUERY = Query(
    Description('a', 'm', ('left', 'right'), (
        Option('key', (0,)), Option('look', (1,))), version='t-1'),
    ('key', 'look'), 'subgoal')

HOLD = '''
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute('begin immediate')
print('held', flush=True)
sys.stdin.read()
'''


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
      assert len(client.ask(QUERY).scores) == 2
      client.close()
      process.send_signal(signal.SIGTERM)
      assert process.wait(120) == 0
    finally:
      process.kill()
  store = storelib.Store(tmp_path / 'advice.sqlite')
  assert store.spent('served')['calls'] == 1
  store.close()


@pytest.mark.parametrize('frees', [True, False])
def test_what_was_paid_is_stored_at_the_end_if_there_is_room(
    tmp_path, monkeypatch, caplog, frees):
  """The file is locked by another program as the answer arrives."""
  monkeypatch.setattr(database, 'PATIENCE', 0.05)
  monkeypatch.setattr(database, 'REST', (0.05, 0.1))
  monkeypatch.setattr(askerlib, 'CLOSING', 20.0 if frees else 0.3)
  path = tmp_path / 'advice.sqlite'
  holder = []

  class Provider(Mock):

    def ask(self, query):
      holder.append(subprocess.Popen(
          [sys.executable, '-c', HOLD, str(path)], stdin=subprocess.PIPE,
          stdout=subprocess.PIPE, text=True))
      assert holder[0].stdout.readline() == 'held\n'
      return super().ask(query)

  store = storelib.Store(path, patience=0.05)
  made = servelib.askers([Provider(paid=True)], store)
  server = serverlib.Server(made)
  client = clientlib.Remote(server.address, timeout=60.0)
  with pytest.raises(errors.CallError):
    client.ask(QUERY)
  client.close()
  server.close()
  if frees:
    holder[0].kill()
  for asker in made.values():
    asker.finish()
  holder[0].kill()
  holder[0].wait()
  store.close()
  store = storelib.Store(path)
  assert store.spent('served')['calls'] == 1
  assert store.latest()[0] == frees
  assert ('are lost, but counted' in caplog.text) != frees
  store.close()
