"""The page in a real browser, without network."""

import base64
import pathlib
import sys
import time

import pytest

from lore_plugin.report import summary as report

sys.path.insert(0, str(pathlib.Path(__file__).parent / 'programs'))

import browser as browserlib  # noqa: E402
import results  # noqa: E402


@pytest.fixture(scope='module')
def browser():
  try:
    with browserlib.open_browser() as opened:
      opened.offline()
      yield opened
  except FileNotFoundError as e:
    pytest.skip(f'{e}; install chromium and chromium-driver')


@pytest.fixture(scope='module')
def url(browser, tmp_path_factory):
  folder = results.write(
      tmp_path_factory.mktemp('results') / 'one', {
          'rl-only': [2000, 3000, 2500, None],
          'lore-with-a-long-name': [0, 0, 0, 1000]}, steps=4000)
  results.record_episode(folder / 'recordings')
  results.record_episode(folder / 'recordings', length=2, advised=False)
  return report.write([folder], reps=200).resolve().as_uri()


@pytest.fixture(params=[(1100, False), (360, True)])
def page(request, browser, url):
  width, dark = request.param
  browser.look(width, 900, dark)
  browser.requests()
  browser.go(url)
  return browser


def text(page, part):
  return page.run(
      'return document.querySelector(`[data-part="${arguments[0]}"]`)'
      '.textContent', part)


def focus(page):
  page.run('document.getElementById("viewer").focus()')


def test_loads_alone_and_clean(page, url):
  assert page.run('return document.readyState') == 'complete'
  asked = [x for x in page.requests() if not x.startswith('data:')]
  assert set(asked) == {url}
  assert page.log() == []
  # Every figure was decoded, in the theme of the page.
  assert page.run(
      'return [...document.images].every(x => x.naturalWidth > 0)')


def test_fits_the_screen(page):
  inner, wide = page.run(
      'return [innerWidth, document.documentElement.scrollWidth]')
  assert wide <= inner
  size = page.run(
      'return parseFloat(getComputedStyle(document.body).fontSize)')
  assert size >= 14
  buttons = page.run(
      'return [...document.querySelectorAll("button")].map('
      'x => x.getBoundingClientRect()).map(x => [x.width, x.height])')
  assert all(min(x) >= 40 for x in buttons), 'large enough for a thumb'


def test_contrast(page):
  """Text against its ground, by the ratio that WCAG asks for: 4.5."""
  colours = page.run('''
    const style = (x) => getComputedStyle(document.querySelector(x));
    return [[style('body').color, style('body').backgroundColor],
            [style('figcaption').color, style('body').backgroundColor],
            [style('nav a').color, style('body').backgroundColor],
            [style('.warn').color, style('.warn').backgroundColor],
            [style('.num').color, style('.viewer').backgroundColor]]''')
  for pair in colours:
    light, dark = sorted(map(luminance, pair), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 4.5, pair


def luminance(colour):
  parts = [float(x) / 255 for x in colour[4:-1].split(',')]
  linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4
            for x in parts]
  return sum(a * b for a, b in zip((0.2126, 0.7152, 0.0722), linear))


def test_keys_of_the_viewer(page):
  focus(page)
  assert text(page, 'where') == 'Step 0 of 5: turn left'
  frame = lambda: page.run(
      'return document.querySelector("[data-part=frame]").src')
  first = frame()
  page.press('right')
  assert text(page, 'where') == 'Step 1 of 5: turn right'
  assert text(page, 'text') == 'A door. 1' and frame() != first
  assert page.run('return document.querySelector(".taken th").textContent') \
      == 'turn right'
  page.press('end')
  assert text(page, 'where') == 'End after 5 actions: success'
  page.press('right', 'left')
  assert text(page, 'where').startswith('Step 4 of 5: turn right, reward 0.90')
  page.press('home', 'left')
  assert text(page, 'where') == 'Step 0 of 5: turn left' and frame() == first
  page.press('space')
  assert text(page, 'play') == 'Pause'
  deadline = time.time() + 10
  while not text(page, 'where').startswith('End') and time.time() < deadline:
    time.sleep(0.1)
  assert text(page, 'where').startswith('End') and text(page, 'play') == 'Play'
  assert page.log() == []


def test_what_the_viewer_shows(page):
  focus(page)
  page.press('home')
  widths = page.run(
      'return [...document.querySelectorAll(".bars tbody tr:first-child i")]'
      '.map(x => x.style.width)')
  assert widths == ['80%', '20%', '60%']
  gauges = text(page, 'gauges')
  for word in ('beta1.50', 'u0.50', 'u: entropy0.90', 'T1.00', 'trust1.00'):
    assert word in gauges
  # The other episode has no advice.
  page.run('''
    const list = document.querySelector('[data-part=episode]');
    list.value = 1; list.dispatchEvent(new Event('change'));''')
  assert text(page, 'where') == 'Step 0 of 2: turn left'
  assert 'advisedno' in text(page, 'gauges')
  assert page.run(
      'return document.querySelector(".advice .num").textContent') == '–'


def test_keys_outside_are_the_pages(page):
  page.run('document.activeElement.blur()')
  page.press('right', 'space')
  assert text(page, 'where') == 'Step 0 of 5: turn left'


def test_every_control_has_a_name(page):
  nameless = page.run('''
    return [...document.querySelectorAll('button, select, input')].filter(
      (x) => !x.textContent.trim() && !x.getAttribute('aria-label')
        && !x.closest('label')).length''')
  assert nameless == 0


def test_screenshot_is_not_blank(page):
  assert len(base64.b64decode(page.screenshot())) > 10_000
