(() => {
  'use strict';
  // Rows of a table that have the words typed above it.
  for (const place of document.querySelectorAll('.search')) {
    const field = place.querySelector('input');
    field.oninput = () => {
      const wanted = field.value.toLowerCase();
      for (const row of place.querySelectorAll('tbody tr')) {
        row.hidden = !row.textContent.toLowerCase().includes(wanted);
      }
    };
  }

  const root = document.getElementById('viewer');
  const episodes = JSON.parse(document.getElementById('episodes').textContent);
  if (!root || !episodes.length) return;

  const find = (name) => root.querySelector(`[data-part="${name}"]`);
  const parts = {};
  for (const name of ['episode', 'first', 'back', 'play', 'next', 'last',
    'slider', 'trace', 'where', 'frame', 'mission', 'text', 'options',
    'bars', 'gauges']) parts[name] = find(name);

  let current = 0;
  let step = 0;
  let timer = null;

  const episode = () => episodes[current];
  const steps = () => episode().steps;
  const number = (x, digits = 2) =>
    x === null || x === undefined ? '–' : x.toFixed(digits);
  const action = (i) => i === null || i === undefined ? 'none, the end' :
    episode().names[i] || `action ${i}`;

  function make(tag, text, cls) {
    const node = document.createElement(tag);
    if (text !== undefined) node.textContent = text;
    if (cls) node.className = cls;
    return node;
  }

  function buildBars() {
    const body = make('tbody');
    const count = steps()[0].pi_mix ? steps()[0].pi_mix.length : 0;
    for (let i = 0; i < count; i++) {
      const row = make('tr');
      const head = make('th', action(i));
      head.scope = 'row';
      row.append(head);
      for (const kind of ['advice', 'wm', 'mix']) {
        const cell = make('td', undefined, kind);
        const bar = make('span', undefined, 'bar');
        bar.append(make('i'));
        cell.append(bar, make('span', '', 'num'));
        row.append(cell);
      }
      body.append(row);
    }
    parts.bars.replaceChildren(parts.bars.tHead, body);
  }

  // The gate over the episode, and a line where we are.
  function buildTrace() {
    const values = steps().map((x) => x.beta);
    const known = values.filter((x) => x !== null);
    const top = Math.max(...known, 0.001);
    const width = Math.max(steps().length - 1, 1);
    let path = '';
    values.forEach((x, i) => {
      if (x === null) return;
      path += `${path ? 'L' : 'M'}${(i / width) * 100} ${28 - 26 * x / top}`;
    });
    parts.trace.querySelector('path').setAttribute('d', path || 'M0 0');
    parts.trace.style.display = known.length ? '' : 'none';
  }

  // The subgoals, with what the model thinks of each where it was asked.
  function showOptions(now) {
    const given = now.choices || [];
    const names = given.length ? given.map(([name]) => name) :
      now.options || [];
    parts.options.replaceChildren(...names.map((name, i) => {
      const item = make('li', name, name === now.chosen ? 'chosen' : '');
      if (given.length) {
        item.append(make('span', ` ${number(given[i][1])}`, 'num'));
      }
      return item;
    }));
    if (!names.length) parts.options.textContent = 'none';
  }

  function show() {
    const now = steps()[step];
    const end = steps().length - 1;
    parts.slider.value = step;
    const result = episode().success ? 'success' : 'no success';
    parts.where.textContent = now.action === null ?
      `End after ${end} actions: ${result}` :
      `Step ${step} of ${end}: ${action(now.action)}` +
      (now.reward ? `, reward ${number(now.reward)}` : '');
    parts.slider.setAttribute('aria-valuetext', parts.where.textContent);
    const frame = now.frame === null ? null : episode().frames[now.frame];
    parts.frame.hidden = frame === null;
    if (frame !== null) parts.frame.src = `data:image/png;base64,${frame}`;
    parts.frame.alt = now.text || `Step ${step}`;
    parts.mission.textContent = now.mission || 'not put into words';
    parts.text.textContent = now.text || 'not put into words';
    showOptions(now);
    const lists = [now.advice, now.pi_wm, now.pi_mix];
    [...parts.bars.tBodies[0].rows].forEach((row, i) => {
      row.className = i === now.action ? 'taken' : '';
      lists.forEach((list, k) => {
        const cell = row.cells[k + 1];
        cell.querySelector('i').style.width = list ? `${100 * list[i]}%` : '0';
        cell.querySelector('.num').textContent = list ? number(list[i]) : '–';
      });
    });
    const gauges = [
      ['advised', now.advice ? 'yes' : 'no'], ['beta', number(now.beta)],
      ['u', number(now.u)],
      ...Object.entries(now.parts || {}).map(
        ([k, x]) => [`u: ${k}`, number(x)]),
      ['T', number(now.temperature)], ['trust', number(now.trust)],
      ['reward', number(now.reward)],
    ].filter(([, x]) => x !== '–');
    parts.gauges.replaceChildren(...gauges.map(([name, value]) => {
      const box = make('div');
      box.append(make('dt', name), make('dd', value));
      return box;
    }));
    const x = steps().length > 1 ? 100 * step / end : 0;
    const line = parts.trace.querySelector('line');
    line.setAttribute('x1', x);
    line.setAttribute('x2', x);
  }

  function go(to) {
    step = Math.min(Math.max(to, 0), steps().length - 1);
    if (step === steps().length - 1) stop();
    show();
  }

  function open(index) {
    stop();
    current = index;
    step = 0;
    parts.slider.max = steps().length - 1;
    buildBars();
    buildTrace();
    show();
  }

  function stop() {
    clearInterval(timer);
    timer = null;
    parts.play.textContent = 'Play';
    parts.play.setAttribute('aria-pressed', 'false');
    parts.where.setAttribute('aria-live', 'polite');
  }

  function play() {
    if (timer !== null) return stop();
    if (step === steps().length - 1) go(0);
    parts.play.textContent = 'Pause';
    parts.play.setAttribute('aria-pressed', 'true');
    // Read aloud, a running episode would be noise.
    parts.where.setAttribute('aria-live', 'off');
    timer = setInterval(() => go(step + 1), 450);
  }

  const walk = (to) => () => { stop(); go(to()); };
  const last = () => steps().length - 1;
  const moves = {
    ArrowLeft: walk(() => step - 1), ArrowRight: walk(() => step + 1),
    Home: walk(() => 0), End: walk(last), ' ': play,
  };

  parts.first.onclick = moves.Home;
  parts.back.onclick = moves.ArrowLeft;
  parts.play.onclick = play;
  parts.next.onclick = moves.ArrowRight;
  parts.last.onclick = moves.End;
  parts.slider.oninput = () => { stop(); go(Number(parts.slider.value)); };
  parts.episode.onchange = () => open(Number(parts.episode.value));
  root.addEventListener('keydown', (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const move = moves[event.key];
    // A list has these keys for itself, and a button is pressed by space.
    const tag = event.target.tagName;
    if (!move || tag === 'SELECT') return;
    if (tag === 'BUTTON' && event.key === ' ') return;
    event.preventDefault();
    move();
  });

  episodes.forEach((x, i) => {
    const option = make('option', x.label);
    option.value = i;
    parts.episode.append(option);
  });
  open(0);
})();
