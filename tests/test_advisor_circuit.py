import pytest

from lore_plugin import errors
from lore_plugin.advisor.circuit import Circuit, Patience


class Clock:

  def __init__(self):
    self.now = 100.0

  def __call__(self):
    return self.now


@pytest.fixture
def clock():
  return Clock()


@pytest.fixture
def circuit(clock):
  # The jitter's middle: 0.75 of a pause, 0.875 of a rest.
  return Circuit(Patience(failures=3), clock, lambda: 0.5)


FAILED = errors.FailedCall('no connection')


class TestOpening:

  def test_after_failures_in_a_row(self, circuit):
    for _ in range(2):
      assert circuit.refuse() == ''
      circuit.failed(FAILED)
    circuit.done()
    for _ in range(3):
      assert circuit.refuse() == ''
      circuit.failed(FAILED)
    assert circuit.refuse() == 'open'

  def test_one_probe(self, circuit, clock):
    for _ in range(3):
      circuit.failed(FAILED)
    clock.now += 0.875 * 30 - 0.01
    assert circuit.refuse() == 'open'
    clock.now += 0.02
    assert circuit.refuse() == ''
    assert circuit.refuse() == 'open'
    circuit.done()
    assert circuit.refuse() == ''
    circuit.failed(FAILED)
    assert circuit.refuse() == ''

  def test_rest_doubles(self, circuit, clock):
    for _ in range(3):
      circuit.failed(FAILED)
    clock.now += 30
    assert circuit.refuse() == ''
    circuit.failed(FAILED)
    clock.now += 0.875 * 60 - 0.01
    assert circuit.refuse() == 'open'
    clock.now += 0.02
    assert circuit.refuse() == ''

  def test_rest_is_bounded(self, circuit, clock):
    for _ in range(100):
      circuit.failed(FAILED)
    clock.now += 600
    assert circuit.refuse() == ''

  def test_a_probe_that_was_not_made(self, circuit, clock):
    for _ in range(3):
      circuit.failed(FAILED)
    clock.now += 30
    assert circuit.refuse() == ''
    circuit.cancelled()
    assert circuit.refuse() == ''

  def test_bugs_of_a_provider_count(self, circuit):
    for _ in range(3):
      circuit.failed(ZeroDivisionError())
    assert circuit.refuse() == 'open'

  def test_unreadable_answers_do_not_count(self, circuit):
    for _ in range(9):
      circuit.failed(errors.ParseError('nonsense'))
    assert circuit.refuse() == ''


class TestPausing:

  def test_back_off_doubles(self, circuit, clock):
    for seconds in (1, 2, 4):
      assert circuit.refuse() == ''
      circuit.failed(errors.BusyCall('busy'))
      clock.now += 0.75 * seconds - 0.01
      assert circuit.refuse() == 'busy'
      clock.now += 0.02

  def test_hint_of_the_server(self, circuit, clock):
    circuit.failed(errors.BusyCall('busy', 20.0))
    clock.now += 20.99
    assert circuit.refuse() == 'busy'
    clock.now += 0.02
    assert circuit.refuse() == ''

  def test_absurd_hint(self, circuit, clock):
    circuit.failed(errors.BusyCall('busy', 1e18))
    clock.now += 3600 * 1.05 + 1
    assert circuit.refuse() == ''

  def test_answer_ends_the_doubling(self, circuit, clock):
    for _ in range(5):
      circuit.failed(errors.BusyCall('busy'))
    clock.now += 1000
    circuit.done()
    circuit.failed(errors.BusyCall('busy'))
    clock.now += 0.76
    assert circuit.refuse() == ''


def test_rejection_is_final(circuit, clock):
  circuit.failed(errors.RejectedCall('HTTP 401: wrong key'))
  clock.now += 1e9
  assert circuit.refuse() == 'stopped'
  assert circuit.stopped == 'HTTP 401: wrong key'
