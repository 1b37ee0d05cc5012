"""The program's own arguments: what it says before it does anything."""

import subprocess
import sys

import pytest

from lore_plugin import __main__ as program
from lore_plugin import __version__

HEAVY = 'jax', 'numpy', 'elements', 'dreamerv3', 'embodied', 'ray'


@pytest.mark.parametrize('argv', [[], ['-h'], ['--help'], ['help']])
def test_help_lists_the_commands(argv, capsys):
  with pytest.raises(SystemExit) as e:
    program.main(argv)
  assert e.value.code == 0
  out = capsys.readouterr().out
  rows = [x.split()[0] for x in out.splitlines() if x.startswith('  ')]
  shown = [k for k, (_, _, does) in program.COMMANDS.items() if does]
  assert rows[:len(shown)] == shown
  assert len(out.splitlines()) < 20 and len(shown) <= 10
  # What has no line of its own stands in another's.
  assert all(x in out for x in program.COMMANDS)


def test_version(capsys):
  with pytest.raises(SystemExit) as e:
    program.main(['--version'])
  assert e.value.code == 0
  assert capsys.readouterr().out == f'LoRe {__version__}\n'


def test_unknown_command(capsys):
  assert program.main(['evalute']) == 2
  out, err = capsys.readouterr()
  assert not out and err.startswith(
      "lore: Unknown command 'evalute'. Did you mean evaluate? Choose from: ")


@pytest.mark.parametrize('name', program.COMMANDS)
def test_every_command_is_there(name):
  assert callable(program.command(name))


def test_options_end_in_one_line(capsys):
  assert program.main(['options', 'gate.kappa']) == 0
  assert '--lore.gate.kappa' in capsys.readouterr().out
  assert program.main(['options', 'xyzzy']) == 2
  assert capsys.readouterr().err.count('\n') == 1


def test_outside_of_the_environment(monkeypatch, capsys):
  def lacking(name):
    raise ModuleNotFoundError('No module', name='elements')
  monkeypatch.setattr(program, 'command', lacking)
  assert program.main(['doctor']) == 2
  err = capsys.readouterr().err
  assert "has no package 'elements'. Activate the environment" in err
  assert err.count('\n') == 1


def test_flags_of_advice_without_advice_are_named():
  from lore_plugin import launch
  argv = [
      '--configs', 'minigrid', '--lore.advisor.calls', '5',
      '--lore.gate.tau=1', '--lore.heldout', '0']
  said = launch.unused(argv, enabled=False)
  assert '--lore.advisor.calls, --lore.gate.tau do nothing' in said
  assert 'Add lore to --configs' in said
  assert not launch.unused(argv, enabled=True)
  assert not launch.unused(argv[:2], enabled=False)


@pytest.mark.process
def test_help_imports_nothing_heavy():
  code = (
      'import runpy, sys\n'
      'sys.argv = ["lore_plugin", "--help"]\n'
      'try:\n'
      '  runpy.run_module("lore_plugin", run_name="__main__")\n'
      'except SystemExit:\n'
      f'  print([x for x in {HEAVY} if x in sys.modules])\n')
  out = subprocess.run(
      [sys.executable, '-c', code], capture_output=True, text=True,
      check=True).stdout
  assert out.splitlines()[-1] == '[]'
