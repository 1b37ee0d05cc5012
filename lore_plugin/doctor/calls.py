"""Whether the advisor was asked, and answered: cache, budget, failures."""

import functools
from collections.abc import Callable

from .advice import of_advised
from .finding import Finding
from .log import Log
from ..advisor import counts

# What to do about calls that fail, by kind, the most urgent first.
FAILURES = {
    'rejected': 'The provider refuses: see the key, --lore.advisor.model and '
    '--lore.advisor.url.',
    'store': 'The file of advice can\'t be written: see the disk, and who '
    'else has it open; or choose another by --lore.advisor.store PATH.',
    'parse': 'Answers can\'t be read: see them by `sqlite3 advice.sqlite '
    '"select raw from ledger"`, and try another --lore.advisor.model.',
    'busy': 'The provider asks to wait: fewer runs at a time, or a higher '
    'limit of its account.',
    'failed': 'No connection or no time: see the network, '
    '--lore.advisor.url or .address, and raise --lore.advisor.timeout.',
    'replay': 'The file that is replayed lacks answers: leave '
    '--lore.advisor.replay out to ask for them.',
    'description': 'The texts can\'t be read: see the world of this task, '
    '--lore.text_bytes.',
    'internal': 'That is a fault of LoRe: report it with the run\'s output.',
}
# What to do about questions that were not asked, by the reason they had.
REFUSALS = {
    'budget': 'Allow more calls: --lore.advisor.calls, .tokens or .money.',
    'cooldown': 'Ask more often: lower --lore.advisor.cooldown.',
    'certain': 'Ask in more states: lower --lore.advisor.min_u.',
    'between': 'It asks at macro boundaries only: '
    '--lore.advisor.policy.macro False.',
    'control': 'Nothing: episodes of the control group ask nobody.',
    'last': 'Nothing: no action follows the last step of an episode.',
    'pending': 'Answers are slow. Train longer, or let it wait for them: '
    '--lore.advisor.ask sync.',
}
CALLS = ('failed', 'busy', 'open', 'stopped', 'unsettled')


def by_counters(name: str) -> Callable:
  """A check of the advisor's counters at the end, its third argument."""
  def decorate(check: Callable[[str, Log, dict], Finding]):
    @of_advised(name)
    @functools.wraps(check)
    def run(name: str, log: Log) -> Finding:
      stats = _advisor(log)
      return check(name, log, stats) if stats else Finding(
          name, 'unknown', 'the advisor\'s counters were not logged yet',
          'Train until the first train/advisor lines.')
    return run
  return decorate


@by_counters('cache')
def check_cache(name: str, log: Log, stats: dict) -> Finding:
  """Whether stored replies are ever used."""
  hits, misses = stats['hits'], stats['misses']
  lookups = hits + misses
  if not log.config.get('lore.advisor.cache', True):
    return Finding(
        name, 'warning', 'lore.advisor.cache is False: each of '
        f'{lookups:.0f} look-ups may cost a call',
        'Leave --lore.advisor.cache out, unless this is what you study.')
  evidence = (
      f'{hits:.0f} of {lookups:.0f} look-ups were answered from memory; '
      f'{stats.get("states", 0):.0f} distinct states')
  if lookups < 200:
    return Finding(name, 'unknown', f'{evidence}: too few', 'Train longer.')
  if log.config.get('lore.world') == 'vision':
    return Finding(
        name, 'ok', f'{evidence}; pictures hardly ever return, and the '
        'learned advice (lore.prior) stands in for them')
  change = (
      'The world has new words for nearly every state: leave out '
      'numbers that always change, or round them (--lore.world).')
  if not hits:
    return Finding(name, 'problem', f'{evidence}: it is never hit', change)
  share = hits / lookups
  new = stats.get('states', 0) / lookups
  if share < 0.5 and new > 0.25:
    return Finding(name, 'warning', evidence, change)
  if share < 0.5:
    return Finding(
        name, 'warning', f'{evidence}: most states were met again, but have '
        'no reply', _unasked(stats))
  return Finding(name, 'ok', evidence)


@by_counters('budget')
def check_budget(name: str, log: Log, stats: dict) -> Finding:
  """Whether calls, tokens or money were used up early."""
  caps = {
      x: log.config.get(f'lore.advisor.{x}', -1)
      for x in ('calls', 'tokens', 'money')}
  capped = ', '.join(f'{k} {v:g}' for k, v in caps.items() if v >= 0)
  refused = stats.get('refused_budget', 0)
  evidence = (
      f'{stats["calls"]:.0f} calls made, caps: {capped or "none"}, '
      f'{refused:.0f} questions refused for the budget')
  if not refused:
    return Finding(name, 'ok', evidence)
  steps, values = log.series('train/advisor/refused_budget')
  total = max(log.end, 1)
  gone = steps[values > 0]
  at = float(gone[0]) if len(gone) else total
  evidence += f', first by step {at:,.0f} of {total:,}'
  change = (
      f'Raise {_used_up(caps, stats)}, or spread the calls: '
      '--lore.advisor.cooldown, --lore.advisor.policy.macro True.')
  if caps['calls'] == 0:
    return Finding(name, 'warning', f'{evidence}: no call is allowed', change)
  early = at < 0.5 * total and refused > 0.05 * (
      stats['hits'] + stats['misses'])
  return Finding(name, 'problem' if early else 'warning', evidence, change)


@by_counters('calls')
def check_failures(name: str, log: Log, stats: dict) -> Finding:
  """Whether calls to the provider failed."""
  failures, calls = stats.get('failures', 0), stats['calls']
  kinds = ', '.join(
      f'{k.removeprefix("failures_")} {v:.0f}' for k, v in sorted(
          stats.items()) if k.startswith('failures_') and v)
  evidence = f'{calls:.0f} calls, {failures:.0f} failures' + (
      f' ({kinds})' if kinds else '')
  if not calls and not failures:
    if counts.needless(stats):
      return Finding(
          name, 'ok', f'{evidence}: there was one choice alone, always, and '
          'nobody to ask')
    if not stats.get('answered'):
      return Finding(
          name, 'problem', f'{evidence}, no stored reply: nobody was asked',
          _unasked(stats))
    return Finding(name, 'ok', f'{evidence}; replies came from the store')
  if not failures:
    return Finding(name, 'ok', evidence)
  return Finding(
      name, 'problem' if failures > calls / 2 else 'warning', evidence,
      f'{_unanswered(stats)} The first failure of each kind is in the run\'s '
      f'output; {_command(log.config)} makes one call.')


def _counted(stats, prefix):
  """Returns counters above 0 by the rest of their name, the largest first."""
  found = {
      k.removeprefix(prefix): v for k, v in stats.items()
      if k.startswith(prefix) and v}
  return sorted(found, key=found.get, reverse=True)


def _unasked(stats):
  """Says what would make it ask in more states."""
  reasons = _counted(stats, 'refused_')
  if not reasons:
    return 'Train longer.'
  if reasons[0] in CALLS:
    return f'Calls fail ({reasons[0]}): see the finding "calls".'
  return REFUSALS.get(
      reasons[0], f'Most were not asked for the reason {reasons[0]!r}: see '
      'python -m lore_plugin options advisor.')


def _unanswered(stats):
  """Says what would make calls succeed, by the failure there is most of."""
  kinds = _counted(stats, 'failures_')
  return FAILURES.get(kinds[0], '') if kinds else ''


def _used_up(caps, stats):
  """Returns the flags of the caps that are used up, else of all there are."""
  spent = {
      'calls': stats['calls'],
      'tokens': stats.get('tokens_in', 0) + stats.get('tokens_out', 0),
      'money': stats.get('money', 0)}
  capped = [k for k, v in caps.items() if v >= 0]
  # What is set aside for the next call counts, too.
  gone = [k for k in capped if spent[k] >= 0.9 * caps[k]] or capped
  return ' and '.join(f'--lore.advisor.{k}' for k in gone or caps)


def _command(config):
  """Returns the command that calls whom the run called."""
  flags = ''.join(
      f' --lore.advisor.{x} {config[f"lore.advisor.{x}"]}'
      for x in ('provider', 'model', 'url')
      if config.get(f'lore.advisor.{x}'))
  return f'`python -m lore_plugin doctor{flags}`'


def _advisor(log):
  """Returns the advisor's counters at the end, or None."""
  if log.summary and 'advisor' in log.summary:
    return log.summary['advisor']
  found = {}
  for row in log.rows:
    found.update({
        k.split('/')[-1]: v for k, v in row.items()
        if k.startswith('train/advisor/')})
  return found if {'calls', 'hits', 'misses'} <= found.keys() else None
