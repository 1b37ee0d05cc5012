"""What holds for all tests."""

import pytest


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
