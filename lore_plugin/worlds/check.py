"""The conformance test of describers."""

import copy

from ..advisor.types import Description


def check_describer(describer, observations, size=2048):
  """Asserts that a describer keeps the interface's promises.

  It must be deterministic and without memory, leave its input alone, encode
  to at most `size` bytes and decode again, name one word an action, offer
  options of distinct names that lead to legal, advisable actions, and report
  events without letting them change anything else.

  Args:
    describer: The describer.
    observations: Observations as `describe` takes them, of one task.
    size: Bytes that a description may take.

  Returns:
    The descriptions, one an observation.

  Raises:
    AssertionError: A promise is broken; carries the evidence.
  """
  observations = list(observations)
  assert observations, 'Give at least one observation.'
  length = int(describer.act_space['action'].high)
  results = []
  for obs in observations:
    before = copy.deepcopy(obs)
    result = describer.describe(obs)
    assert repr(obs) == repr(before), ('input changed', before, obs)
    assert isinstance(result, Description), type(result)
    assert result.version and result.version == describer.version, (
        result.version, describer.version)
    assert result.text and result.text.isprintable(), repr(result.text)
    assert len(result.actions) == length, (result.actions, length)
    assert any(result.actions), result.actions
    names = [x.name for x in result.options]
    assert all(names) and len(set(names)) == len(names), names
    for option in result.options:
      assert len(set(option.actions)) == len(option.actions), option
      for action in option.actions:
        assert 0 <= action < length and result.actions[action], option
    data = result.encode(size)
    decoded = Description.decode(data)
    assert decoded == result, (decoded, result)
    loud = describer.describe(obs, ('something happened',))
    assert loud.events == ('something happened',), loud.events
    assert not result.events, result.events
    assert (loud.text, loud.mission, loud.actions, loud.options) == (
        result.text, result.mission, result.actions, result.options), loud
    results.append(result)
  # Another order finds memory that repetition in place does not.
  again = [describer.describe(x) for x in reversed(observations)][::-1]
  for obs, first, second in zip(observations, results, again):
    assert first == second, (obs, first, second)
  return results
