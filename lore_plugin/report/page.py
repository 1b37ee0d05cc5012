"""Writes the page of a report: text, tables, figures and the episode viewer.

The page is one file. Its policy forbids every connection, so that a browser
would refuse what was overlooked.
"""

import base64
import html
import json
import pathlib
import string
from collections.abc import Container, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from .. import curves
from .. import errors
from .. import status
from ..worlds import seeds
from . import advice as advicelib
from . import load
from . import stats
from . import words

PLACE = pathlib.Path(__file__).parent
ESCAPED = {'<': '\\u003c', '>': '\\u003e', '&': '\\u0026'}

VIEWER = '''
<p class="hint" id="keys">Click into the viewer, or move to it with
<kbd>Tab</kbd>. Then <kbd>&larr;</kbd> and <kbd>&rarr;</kbd> go a step,
<kbd>Home</kbd> and <kbd>End</kbd> to either end, <kbd>Space</kbd> plays and
pauses.</p>
<div class="viewer" id="viewer" tabindex="0" role="group"
  aria-label="Episode viewer" aria-describedby="keys">
<div class="controls">
<label>Episode <select data-part="episode"></select></label>
<button type="button" data-part="first"
  aria-label="First step">&#8676;</button>
<button type="button" data-part="back" aria-label="Step back">&larr;</button>
<button type="button" data-part="play" aria-pressed="false">Play</button>
<button type="button" data-part="next" aria-label="Next step">&rarr;</button>
<button type="button" data-part="last" aria-label="Last step">&#8677;</button>
</div>
<input type="range" min="0" value="0" data-part="slider" aria-label="Step">
<svg class="trace" data-part="trace" viewBox="0 0 100 30" role="img"
  preserveAspectRatio="none" aria-label="beta over the episode">
<title>beta over the episode</title><path d="M0 0"/>
<line x1="0" x2="0" y1="0" y2="30"/></svg>
<p class="where" data-part="where" aria-live="polite"></p>
<div class="stage">
<div class="frame"><img data-part="frame" alt="" src="data:,"></div>
<dl class="words">
<dt>Mission</dt><dd data-part="mission"></dd>
<dt>What the model is told</dt><dd data-part="text"></dd>
<dt>Subgoals to choose from; the chosen one is marked</dt>
<dd><ul class="options" data-part="options"></ul></dd>
</dl>
</div>
<table class="bars" data-part="bars">
<caption>Probability of each action; the one taken is marked</caption>
<thead><tr><th scope="col">action</th>
<th scope="col" class="advice">advice</th>
<th scope="col" class="wm">pi_wm</th>
<th scope="col" class="mix">pi_mix</th></tr></thead>
</table>
<dl class="gauges" data-part="gauges"></dl>
</div>
<noscript><p>The viewer needs JavaScript; the rest of the page does
not.</p></noscript>
'''


def page(
    summary: dict[str, Any], sections: Sequence[dict[str, Any]],
    drawn: Sequence[Sequence[dict[str, str]]],
    episodes: Sequence[dict[str, Any]]) -> str:
  """Returns the page as HTML.

  Args:
    summary: What `report.write` puts into statistics.json.
    sections: What `report.summarise` returned, one for each suite and task.
    drawn: What `figures.draw` returned for each of them.
    episodes: Recorded episodes, see `record`.
  """
  texts = {x: (PLACE / f'page.{x}').read_text(encoding='utf-8')
           for x in ('html', 'css', 'js')}
  titles = [f'{x["suite"]}: {name(x["task"])}' for x in sections]
  nav = [*[(f'section-{i}', x) for i, x in enumerate(titles)],
         ('episodes-section', 'Episodes'), ('method', 'Method')]
  body = []
  if summary['notes']:
    body.append(warning('About these files', summary['notes']))
  for i, (section, figures) in enumerate(zip(sections, drawn)):
    body += part(i, titles[i], section, figures)
  body.append('<h2 id="episodes-section">Episodes, step by step</h2>')
  body.append(VIEWER if episodes else (
      '<p>No episodes were recorded. <code>python -m lore_plugin evaluate '
      'LOGDIR --record DIR/recordings</code> records some.</p>'))
  body.append('<h2 id="method">Method</h2>')
  body.append(f'<p>{esc(summary["method"])}</p>')
  count = sum(len(x) for s in sections for x in s['runs'].values())
  commits = sorted({
      c for s in sections for a in s['arms'].values() for c in a['commits']})
  known = [x for x in commits if x != 'None']
  runs = f'{count} finished runs' if commits else (
      f'{count} run{"s" if count > 1 else ""}')
  return string.Template(texts['html']).substitute(
      title='LoRe: ' + esc(', '.join(
          dict.fromkeys(x['suite'] for x in sections))),
      lead=f'{runs}.' + (
          f' Commit: {esc(", ".join(map(short, known)) or "not stated")}.'
          if commits else ''),
      nav=''.join(f'<a href="#{k}">{esc(v)}</a>' for k, v in nav),
      body='\n'.join(body), css=texts['css'], js=texts['js'],
      command=esc(summary['command']),
      episodes=embed([{**x, 'label': label(x)} for x in episodes]))


def part(
    index: int, title: str, section: dict[str, Any],
    figures: Sequence[dict[str, str]]) -> list[str]:
  """Returns the HTML of one suite on one task, in pieces."""
  out = [f'<h2 id="section-{index}">{esc(title)}</h2>']
  if section['warnings']:
    out.append(warning('Read with care', section['warnings']))
  if section['findings']:
    items = ''.join(
        f'<li class="{"shown" if x["shown"] else "not"}">{esc(x["text"])}</li>'
        for x in section['findings'])
    out.append(
        f'<h3>What it shows</h3><ul class="findings">{items}</ul>')
  out += [figure(x) for x in figures[:1]]
  out += [
      success_table(section), arms_table(section), comparison_table(section)]
  out += [figure(x) for x in figures[1:]]
  if any(x['configuration'] for x in section['arms'].values()):
    out.append(runs_table(section))
  for arm, runs in section['runs'].items():
    for run in runs:
      out += single(arm, run) if run.logdir else []
  return out


def single(arm: str, run: load.Run) -> Iterator[str]:
  """Returns the HTML of what is known of a run in its own folder."""
  summary = run.about.summary
  # So `training.read` makes them, and no other run has a folder.
  assert run.logdir is not None and summary is not None
  if 'windows' in summary:
    text = status.table(summary, run.logdir).strip()
    yield f'<h3>{esc(arm)}: as it ended</h3><pre>{esc(text)}</pre>'
  try:
    found = advicelib.read(run.logdir)
  except errors.LoreError:
    return  # Without an advisor, or its store is elsewhere.
  yield f'<h3>{esc(arm)}: what the advisor was asked</h3>'
  yield advice_table(arm, found)


def advice_table(arm: str, found: dict[str, Any]) -> str:
  """Returns questions and answers, which the page's script can search."""
  shown = lambda x: ', '.join(
      f'{"▶ " if words == x["best"] else ""}{words} {share:.2f}'
      for words, share in x['choices'])
  led = lambda x: '--' if x['led_to'] is None else '; '.join([
      advicelib.told(x['led_to']), *(
          f'{words}: {advicelib.told(y)}' for words, y in x['pursued'].items()
          if len(x['pursued']) > 1)])
  rows = [
      [x['question'][:advicelib.SHOWN], f'{x["mission"]}. {x["text"]}',
       shown(x), led(x), f'{x["tokens"]:,}', f'{x["dollars"]:.4f}',
       f'{x["seconds"]:.1f}'] for x in found['questions']]
  about = (
      f'{len(rows)} questions; {found["calls"]:,} calls, '
      f'{found["tokens"]:,} tokens and {found["dollars"]:.4f} dollars by the '
      'ledger. Beside each choice is the probability that the model gives '
      'it; its best one is marked. Led to: advised training episodes in which '
      'the question was met, and in which each choice was pursued.')
  return (
      '<div class="search"><label>Search questions and answers '
      f'<input type="search" aria-label="Search the advice of {esc(arm)}">'
      '</label>' + table(
          about, ['question', 'what it was told', 'choices', 'led to',
                  'tokens', 'dollars', 's'], rows, wrap=(1, 2, 3))
      + '</div>')


def warning(title: str, lines: Iterable[str]) -> str:
  items = ''.join(f'<li>{esc(x)}</li>' for x in lines)
  return (
      f'<div class="warn" role="note"><strong>{esc(title)}</strong>'
      f'<ul>{items}</ul></div>')


def figure(x: dict[str, str]) -> str:
  """Embeds a figure for light and for dark pages."""
  source = lambda svg: (
      'data:image/svg+xml;base64,'
      + base64.b64encode(svg.encode()).decode('ascii'))
  return (
      f'<h3>{esc(x["title"])}</h3><figure>'
      f'<div class="scroll" tabindex="0" role="group" '
      f'aria-label="{esc(x["title"])}"><picture>'
      '<source media="(prefers-color-scheme: dark)" '
      f'srcset="{source(x["dark"])}">'
      f'<img src="{source(x["light"])}" alt="{esc(x["alt"])}"></picture></div>'
      f'<figcaption>{esc(x["caption"])}</figcaption></figure>')


def table(
    about: str, head: Iterable[str], rows: Iterable[Iterable[object]],
    wrap: Container[int] = (), tight: Container[int] = ()) -> str:
  """Formats a table whose first column names its rows.

  Args:
    about: What it shows.
    head: Names of the columns.
    rows: Lists of texts.
    wrap: Indices of columns that may break, and are wide.
    tight: Indices of columns that may break, and are as narrow as need be.
  """
  kind = lambda i: (
      ' class=wrap' if i in wrap else ' class=tight' if i in tight else '')
  cell = lambda i, x: (
      f'<th scope="row"{kind(i)}>{esc(x)}</th>' if not i else
      f'<td{kind(i)}>{esc(x)}</td>')
  lines = ''.join(
      '<tr>' + ''.join(cell(i, x) for i, x in enumerate(row)) + '</tr>'
      for row in rows)
  heads = ''.join(
      f'<th scope="col"{kind(i)}>{esc(x)}</th>' for i, x in enumerate(head))
  # Outside of the part that scrolls, where it would be cut off.
  return (
      f'<p class="about">{esc(about)}</p><div class="scroll" tabindex="0" '
      f'role="group" aria-label="{esc(about)}"><table>'
      f'<thead><tr>{heads}</tr></thead><tbody>{lines}</tbody></table></div>')


def measured(section: dict[str, Any]) -> str:
  return 'Success' if section['measure'] == 'success' else 'Mean return'


def success_table(section: dict[str, Any]) -> str:
  """Returns success at the marks, arm by arm."""
  marks = [m for m in curves.MARKS if any(
      m in x.get('at', {}) for x in section['arms'].values())]
  if not marks:
    return ''
  rows = []
  for arm, x in section['arms'].items():
    at = lambda kind, m, x=x: words.tell(
        x.get('at', {}).get(m, {}).get(kind), '.2f')
    rows.append([
        arm, f'{x["finished"]} of {words.planned(x)}',
        *[at('window', m) for m in marks],
        *[at('cumulative', m) for m in marks]])
  return table(
      f'{measured(section)} while training, IQM over seeds with its 95 % '
      'interval: in the window of 1,000 steps that ends there, and of all '
      'episodes so far.',
      ['arm', 'seeds', *[f'{m // 1000}k' for m in marks],
       *[f'so far {m // 1000}k' for m in marks]], rows)


def arms_table(section: dict[str, Any]) -> str:
  """Returns how fast, how good and how dear every arm was."""
  head = ['arm', 'alone', 'got there', 'steps to 0.9', 'got there',
          'agent alone', 'mean, worst seed', 'calls', 'dollars', 'steps/s']
  rows = []
  for arm, x in section['arms'].items():
    if not x['finished']:
      rows.append([arm, 'no finished run', *[''] * (len(head) - 2)])
      continue
    got = lambda key, x=x: [
        words.tell(x[key]), f'{x[f"{key}_reached"]} of {x["finished"]}']
    times = [*got('alone_steps'), *got('steps_to_goal')]
    alone = x['alone']
    rows.append([
        arm, *(times if section['measure'] == 'success' else ['--'] * 4),
        words.tell(alone, '.2f'),
        f'{x["alone_mean"]:.2f}, {alone.least:.2f}' if alone else '--',
        f'{np.median(x["calls"]):,.0f}',
        f'{np.median(x["money"]):.3f}',
        f'{x["steps_per_s"]:.1f}' if x['steps_per_s'] else '--'])
  return table(
      f'Mean steps to 0.9 alone, by {words.by(section)}, and with whatever '
      'helps; a run that never got there counts as '
      f'{section["limit"]:,}. {measured(section)} of the agent '
      f'alone (advice off, {seeds.drawn(section["task"])} of new seeds, '
      'after training): IQM, mean and worst seed. Calls, dollars '
      'and environment steps a second: medians of runs.', head, rows)


def comparison_table(section: dict[str, Any]) -> str:
  if not section['comparisons'] or section['measure'] == 'return':
    return ''
  rows = [
      [arm, *[cell for k in ('alone_steps', 'steps') for cell in (
          judged(x[k], '.2f'), f'{x["ceiling"][k]:.2f}',
          f'{x["improvement"][k]:.2f}')],
       *[judged(x[k], '+.2f') for k in ('final', 'alone')]]
      for arm, x in section['comparisons'].items()]
  return table(
      f'Against {section["reference"]}. Ratio of restricted mean steps to '
      '0.9 alone and with whatever helps, each with the ratio that an arm '
      'would have that never gets there and the probability of getting there '
      'first; difference of mean success late in training and of the agent '
      'alone after training. p values are corrected for the number of '
      'planned arms.',
      ['arm', 'ratio alone', 'never', 'first', 'ratio of steps', 'never',
       'first', 'success late', 'agent alone'],
      rows, tight=range(9))


def judged(x: stats.Estimate | None, form: str) -> str:
  """Writes a comparison, and where it shows no difference."""
  if x is None:
    return '--'
  text = words.tell(x, form)
  return f'{text}, p = {words.chance(x.p)}' if x.shown else (
      f'{text}, no difference shown (p = {words.chance(x.p)})')


def runs_table(section: dict[str, Any]) -> str:
  """Returns commit, configuration and seeds of every arm, folded away."""
  rows = [
      [arm, ', '.join(map(str, x['seeds'])) or 'none', f'{x["steps"]:,}',
       ', '.join(short(c) for c in x['commits']) or '--',
       x['configuration'] or 'not stated']
      for arm, x in section['arms'].items()]
  return (
      '<details><summary>Commit, configuration and seeds of every arm'
      '</summary>' + table(
          'Flags of each arm, without those of a single run.',
          ['arm', 'seeds', 'steps', 'commit', 'flags'], rows, wrap=(4,))
      + '</details>')


def label(x: dict[str, Any]) -> str:
  """Names a recorded episode in the viewer's list."""
  step = '' if x.get('step') is None else f', {x["step"]:,} steps'
  result = 'success' if x.get('success') else 'no success'
  advice = 'advised' if x['advice'] else 'alone'
  return (
      f'{x.get("run", "run")}{step}, {advice}, {x["actions"]}, '
      f'{seeds.drawn(x.get("task", "minigrid_")).removesuffix("s")} '
      f'{x.get("episode", 0)}: {result} in {x.get("length", "?")}')


def name(task: str) -> str:
  return task.removeprefix('minigrid_')


def short(commit: str) -> str:
  """Shortens a commit and keeps what is said of it."""
  first, _, rest = commit.partition(',')
  return first[:10] + (f' ({rest.strip()})' if rest else '')


def esc(text: object) -> str:
  return html.escape(str(text))


def embed(data: Any) -> str:
  """Writes JSON that can stand in a script element."""
  text = json.dumps(data, separators=(',', ':'), allow_nan=False)
  for char, code in ESCAPED.items():
    text = text.replace(char, code)
  return text
