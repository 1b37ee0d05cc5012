"""A headless Chromium, spoken to by the WebDriver protocol.

A few calls of W3C's protocol are all that the tests need, so there is no
client library to install. `open_browser` raises FileNotFoundError where there
is no Chromium or no driver.
"""

import contextlib
import json
import re
import shutil
import subprocess
import urllib.request

KEYS = {
    'left': '\ue012', 'right': '\ue014', 'home': '\ue011', 'end': '\ue010',
    'space': ' ', 'tab': '\ue004'}
ARGS = (
    '--headless=new', '--no-sandbox', '--disable-gpu',
    '--disable-dev-shm-usage', '--no-first-run', '--disable-extensions',
    '--disable-background-networking')
NAMES = ('chromium', 'chromium-browser', 'google-chrome', 'chrome')


class Browser:
  """One window. Methods raise RuntimeError with the driver's message."""

  def __init__(self, port, binary):
    self.base = f'http://127.0.0.1:{port}'
    options = {
        'browserName': 'chrome',
        'goog:loggingPrefs': {'browser': 'ALL', 'performance': 'ALL'},
        'goog:chromeOptions': {'binary': binary, 'args': list(ARGS)}}
    made = self._call('POST', '/session', {
        'capabilities': {'alwaysMatch': options}})
    self.base += f'/session/{made["sessionId"]}'

  def _call(self, method, path, data=None):
    request = urllib.request.Request(
        self.base + path, method=method,
        data=None if method != 'POST' else json.dumps(data or {}).encode(),
        headers={'Content-Type': 'application/json'})
    # Proxies are for the world outside.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
      with opener.open(request, timeout=60) as response:
        return json.load(response)['value']
    except urllib.error.HTTPError as e:
      raise RuntimeError(e.read().decode()[:2000]) from e

  def cdp(self, command, **params):
    return self._call('POST', '/goog/cdp/execute', {
        'cmd': command, 'params': params})

  def offline(self):
    self.cdp('Network.enable')
    self.cdp(
        'Network.emulateNetworkConditions', offline=True, latency=0,
        downloadThroughput=0, uploadThroughput=0)

  def look(self, width, height, dark=False):
    """Sets the size of the screen and the colour scheme."""
    self.cdp(
        'Emulation.setDeviceMetricsOverride', width=width, height=height,
        deviceScaleFactor=1, mobile=width < 500)
    self.cdp('Emulation.setEmulatedMedia', features=[{
        'name': 'prefers-color-scheme',
        'value': 'dark' if dark else 'light'}])

  def go(self, url):
    self._call('POST', '/url', {'url': url})

  def run(self, code, *args):
    """Runs the body of a function and returns what it returns."""
    return self._call('POST', '/execute/sync', {
        'script': code, 'args': list(args)})

  def press(self, *keys):
    """Presses keys, by their names in KEYS, where the focus is."""
    actions = [
        {'type': kind, 'value': KEYS[key]}
        for key in keys for kind in ('keyDown', 'keyUp')]
    self._call('POST', '/actions', {'actions': [
        {'type': 'key', 'id': 'keys', 'actions': actions}]})

  def log(self, kind='browser'):
    return self._call('POST', '/se/log', {'type': kind})

  def requests(self):
    """Addresses that were asked for since the last call."""
    events = [json.loads(x['message'])['message']
              for x in self.log('performance')]
    return [
        x['params']['request']['url'] for x in events
        if x['method'] == 'Network.requestWillBeSent']

  def screenshot(self):
    """Returns the screen as PNG, base64."""
    return self._call('GET', '/screenshot')

  def quit(self):
    self._call('DELETE', '')


@contextlib.contextmanager
def open_browser():
  """Starts the driver and a browser, and ends both."""
  driver = shutil.which('chromedriver')
  binary = next(filter(None, map(shutil.which, NAMES)), None)
  if not driver or not binary:
    raise FileNotFoundError('there is no Chromium with its driver')
  process = subprocess.Popen(
      [driver, '--port=0'], stdout=subprocess.PIPE,
      stderr=subprocess.DEVNULL, text=True)
  try:
    port = None
    for line in process.stdout:
      if found := re.search(r'successfully on port (\d+)', line):
        port = int(found.group(1))
        break
    if port is None:
      raise RuntimeError('chromedriver ended without listening')
    browser = Browser(port, binary)
    try:
      yield browser
    finally:
      browser.quit()
  finally:
    process.terminate()
    process.wait()
    process.stdout.close()
