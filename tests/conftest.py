"""What holds for all tests: tiers, skips, and hypothesis.

Each test is of one tier, by its marker or that of its module:

  unit      nothing of the following; the default; a minute for all of them
  agent     compiles with jax, or loads a language model
  process   starts programs; those that train are `slow` as well

What is `long` as well has a target of its own, `make test-long`.

What can't run here is skipped with the command that runs it, and named at the
end. Where LORE_NO_SKIP is set, as in .ci/run, a skip is a failure, except for
tests of a file or a program that a variable names (`needs`).
"""

import collections
import contextlib
import os
import pathlib
import signal
import sys
import textwrap

import hypothesis
import pytest

ROOT = pathlib.Path(__file__).parents[1]
# Modules that are of another tier than unit as a whole.
TIERS = {
    'test_ablate': 'process',
    'test_advisor_crash': 'process',
    'test_advisor_disk': 'process',
    'test_advisor_llama': 'agent',
    'test_advisor_parallel': 'process',
    'test_advisor_training': 'process',
    'test_agent': 'agent',
    'test_agent_options': 'agent',
    'test_bitwise': 'process',
    'test_contract': 'process',
    'test_evaluate': 'process',
    'test_exact': 'process',
    'test_launch': 'process',
    'test_local': 'agent',
    'test_maths': 'agent',
    'test_memory': 'process',
    'test_modules': 'agent',
    'test_patch': 'process',
    'test_report_browser': 'process',
    'test_restore': 'agent',
    'test_setup': 'process',
    'test_train': 'process',
    'test_tune': 'process',
    'test_uncertainty': 'agent',
    'test_upstream': 'process',
}
NAMES = ('unit', 'agent', 'process')
PROCESSES = ('subprocess.Popen', 'os.fork', 'os.posix_spawn', 'os.system')
# What libraries ask of the machine by themselves.
ASIDE = ("('uname'", "('ldconfig'", "('/sbin/ldconfig'", "('gcc'", "('ld'")

# Whether a machine is slow or busy must not matter.
hypothesis.settings.register_profile(
    'lore', deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile('lore')

# A shell's job in the background ignores Ctrl-C, and so would each program
# that a test starts and interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
  signal.signal(signal.SIGINT, signal.default_int_handler)

started = []


def pytest_configure(config):
  """Lets all tests and their programs compile once, also those of later runs.

  The variables are read where jax is imported, which no plugin does earlier.
  `pytest --cache-clear` forgets what was compiled.
  """
  if not hasattr(config, 'cache'):
    return  # -p no:cacheprovider
  with contextlib.suppress(OSError):  # Nothing can be written here.
    kept = config.cache.mkdir('jax')
    os.environ.setdefault('JAX_COMPILATION_CACHE_DIR', str(kept))
    os.environ.setdefault('JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS', '0')


def audit(event, args):
  if event in PROCESSES and not repr(args).startswith(ASIDE):
    started.append(f'{event} {args!r:.80}')


sys.addaudithook(audit)


def pytest_collection_modifyitems(items):
  """Gives each test the marker of its tier; modules that take long go first.

  So that no worker is left with one of them when the others have finished.
  """
  for item in items:
    needs = item.get_closest_marker('needs')
    if needs and not os.environ.get(needs.args[0]):
      item.add_marker(pytest.mark.skip(
          f'{needs.args[0]} is not set: {needs.args[1]}'))
    if not any(item.get_closest_marker(x) for x in NAMES):
      tier = TIERS.get(item.module.__name__.split('.')[-1], 'unit')
      if tier == 'unit' and item.get_closest_marker('slow'):
        tier = 'process'
      item.add_marker(tier)
  order = ('slow', 'process', 'agent', 'unit')
  first = {}
  for item in items:
    rank = min(i for i, x in enumerate(order) if item.get_closest_marker(x))
    first[item.path] = min(rank, first.get(item.path, rank))
  items.sort(key=lambda x: first[x.path])


def forbid(report):
  """Makes a failure of a skip, where everything has to run."""
  if os.environ.get('LORE_NO_SKIP') and report.skipped:
    report.outcome = 'failed'
    report.longrepr = f'Skipped where all has to run: {report.longrepr[2]}'


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
  report = yield
  if not item.get_closest_marker('needs') and not hasattr(report, 'wasxfail'):
    forbid(report)
  return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
  report = yield
  forbid(report)
  return report


def pytest_terminal_summary(terminalreporter, config):
  """Says what was left out, why, and what runs it."""
  out = collections.Counter(
      x.longrepr[2].removeprefix('Skipped: ')
      for x in terminalreporter.stats.get('skipped', ()))
  if config.option.markexpr:
    terminalreporter.write_line(
        f'Left out: all but -m {config.option.markexpr!r}; make test and make '
        'test-long run them all.')
  for reason, count in out.items():
    terminalreporter.write_line(f'Left out: {count}. {reason}')


@pytest.fixture(autouse=True)
def no_process(request):
  """Fails a unit test that starts a process."""
  count = len(started)
  yield
  if request.node.get_closest_marker('unit') and len(started) > count:
    pytest.fail(
        f'A unit test started {started[count:]}. Mark it by'
        ' @pytest.mark.process.')


@pytest.fixture(autouse=True, scope='module')
def transfers(request):
  """Lets tests of plain functions move arrays to the device.

  Upstream forbids that for the whole process once it has built an agent, and
  which tests share a process is chance.
  """
  if request.module.__name__ not in ('test_maths', 'test_modules'):
    yield
    return
  import jax
  with jax.transfer_guard('allow'):
    yield


@pytest.fixture(autouse=True)
def strangers():
  """Lets each test meet servers that this process knows nothing about."""
  module = sys.modules.get('lore_plugin.advisor.providers.manners')
  if module:
    module.forget()


@pytest.fixture
def xla_unasked(monkeypatch):
  """What XLA knows is asked for in a test of its own."""
  monkeypatch.setenv('LORE_XLA_FLAGS', '')


@pytest.fixture
def write(tmp_path):
  """Writes a file below the test's folder, without the text's indentation."""
  def write(text, name='small.yaml'):
    path = tmp_path / name
    path.write_text(textwrap.dedent(text))
    return str(path)
  return write


@pytest.fixture(scope='session')
def env():
  """Variables for programs, which import what this process imports."""
  paths = [str(ROOT), os.environ.get('PYTHONPATH')]
  return {
      **os.environ, 'OMP_NUM_THREADS': '1',
      'PYTHONPATH': os.pathsep.join(filter(None, paths))}
