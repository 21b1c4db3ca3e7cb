'use strict';
// The whole server: lanes over one time scale, and the moment that is read.

const lanes = {
  traffic: new Lane('traffic', [
    { name: 'served', label: 'Served' },
    { name: 'failed', label: 'Failed' },
    { name: 'dependency', label: 'Refused: dependency' },
    { name: 'overload', label: 'Refused: overload' },
    { name: 'limits', label: 'Refused: limits' },
    { name: 'draining', label: 'Refused: draining' },
  ], rate),
  latency: new Lane('latency', [
    { name: 'p50', label: 'p50', line: true },
    { name: 'p99', label: 'p99', line: true },
  ], millis),
  flight: new Lane('flight', [
    { name: 'inFlight', label: 'In flight' },
    { name: 'waiting', label: 'Waiting' },
    { name: 'bound', label: 'Bound', line: true },
  ], count),
  tokens: new Lane('tokens', [
    { name: 'tokens', label: 'Left' },
  ], count),
};

let reading = null; // the moment that is read, in milliseconds before the newest sample; null: none

function drawServer() {
  const s = store.server;
  const xs = store.times.map(across);
  const limit = store.now.requests.limit;
  lanes.traffic.draw(xs, s);
  lanes.latency.draw(xs, s);
  lanes.flight.draw(xs, s);
  lanes.tokens.draw(xs, s, limit.burst);
  drawAxis();
  showMoment();
  showFacts();
}

function drawAxis() {
  const axis = byId('axis');
  const labels = [];
  const end = nowMs();
  for (let t = Math.ceil((end - span()) / 60000) * 60000; t < end - 20000; t += 60000) labels.push([across(t), minute(t), `${(t / 60000) % 2 ? 'odd' : ''}${end - t < 50000 ? ' late' : ''}`]);
  while (axis.children.length > labels.length + 1) axis.lastChild.remove();
  [...labels, [WIDE, clock(end), 'newest']].forEach(([x, text, className], i) => {
    const label = axis.children[i] || axis.appendChild(el('span'));
    setText(label, text);
    label.style.left = `${(100 * x) / WIDE}%`;
    label.className = `${className}${x < 12 ? ' first' : ''}`;
  });
}

// The sample nearest to a moment.
function sampleAt(ms) {
  let best = store.times.length - 1;
  store.times.forEach((t, i) => { if (Math.abs(t - ms) < Math.abs(store.times[best] - ms)) best = i; });
  return best;
}

function showMoment() {
  const s = store.server;
  const end = store.times.length - 1;
  if (end < 0) return;
  const i = reading === null ? end : sampleAt(store.times[end] - reading);
  const at = (key) => (s[key] || [])[i] || 0;
  const limit = store.now.requests.limit;
  for (const lane of Object.values(lanes)) {
    for (const x of lane.series) {
      const v = at(x.name);
      let text = lane.show(v);
      if (x.name === 'bound') text = v ? count(v) : 'none';
      if (x.name === 'tokens') text = limit.unlimited ? 'no limit' : `${count(v)} of ${count(limit.burst)}`;
      setText(x.item.dd, text);
      x.item.box.classList.toggle('none', !(v > 0));
    }
  }
  const bound = lanes.flight.series[2].item;
  setText(bound.dt.lastChild, store.now.requests.bound.selfTuned ? 'Bound, self-tuned' : 'Bound');
  lanes.flight.series[1].item.box.hidden = !store.now.requests.bound.limit;
  const cross = byId('cross');
  cross.hidden = reading === null;
  const slider = byId('moment');
  if (reading === null) {
    setAttr(slider, 'aria-valuenow', 0);
    setAttr(slider, 'aria-valuetext', 'now');
    return;
  }
  const t = store.times[i];
  cross.style.left = `${(100 * across(t)) / WIDE}%`;
  const near = store.events.filter((e) => Math.abs(e.time - t) <= 1500);
  const read = byId('read');
  read.className = `read${across(t) > WIDE * 0.7 ? ' left' : ''}`;
  read.replaceChildren(el('b', '', clock(t)), ...near.slice(-3).map((e) => el('span', '', `${e.name || 'server'}: ${e.text}`)));
  const refused = at('limits') + at('overload') + at('dependency') + at('draining');
  setAttr(slider, 'aria-valuenow', -Math.round(reading / 1000));
  setAttr(slider, 'aria-valuetext', `${clock(t)}: ${rate(at('served') + at('failed'))} admitted and ${rate(refused)} refused per second, ` +
    `${count(at('inFlight'))} in flight, p99 ${millis(at('p99'))}${near.map((e) => `; ${e.name || 'server'} ${e.text}`).join('')}`);
}

function readAt(ms) {
  reading = ms === null ? null : Math.max(0, Math.min(span(), ms));
  if (store.now) showMoment();
}

{
  const box = byId('lanes');
  const plot = byId('moment');
  box.addEventListener('pointermove', (e) => {
    const r = plot.getBoundingClientRect();
    if (e.clientX < r.left || !r.width) { readAt(null); return; }
    readAt(span() * (1 - (e.clientX - r.left) / r.width));
  });
  box.addEventListener('pointerleave', () => readAt(null));
  plot.addEventListener('blur', () => readAt(null));
  plot.addEventListener('keydown', (e) => {
    const step = e.shiftKey ? 10000 : 1000;
    const to = { ArrowLeft: (reading ?? 0) + step, ArrowRight: (reading ?? 0) - step, PageUp: (reading ?? 0) + 60000, PageDown: (reading ?? 0) - 60000, Home: span(), End: 0, Escape: null }[e.key];
    if (to === undefined) return;
    e.preventDefault();
    readAt(to);
  });
}

// What does not move: the limits, and whom they refuse.
function showFacts() {
  const now = store.now;
  const before = store.before;
  const q = now.requests;
  const facts = [];
  const l = q.limit;
  facts.push(['Shared limit', l.unlimited ? 'none' : `${rate(l.rate)}/s, burst ${count(l.burst)}`]);
  q.clients.forEach((c, i) => {
    const refused = since(c.refused, before && before.requests.clients[i].refused);
    facts.push([`Limit per ${c.name}`, `${c.limit.unlimited ? 'none' : `${rate(c.limit.rate)}/s, burst ${count(c.limit.burst)}`} · ${count(c.keys)} told apart · refuses ${rate(refused)}/s`]);
  });
  const b = q.bound;
  if (b.limit) {
    const shed = (p) => rate(since(b.shed[p], before && before.requests.bound.shed[p]));
    facts.push(['Shed by priority', `critical ${shed('critical')}/s · normal ${shed('normal')}/s · sheddable ${shed('sheddable')}/s`]);
  }
  if (b.selfTuned && b.noQueue) facts.push(['Without a queue', millis(nanos(b.noQueue))]);
  if (b.selfTuned && b.lastMove.to) facts.push(['Bound moved', moved(b.lastMove)]);
  const list = byId('facts');
  while (list.children.length > facts.length) list.lastChild.remove();
  facts.forEach(([term, text], i) => {
    const box = list.children[i] || pair(list, '').box;
    setText(box.firstChild, term);
    setText(box.lastChild, text);
  });
}

function moved(m) {
  const ago = m.at ? Math.max(0, (nowMs() - Date.parse(m.at)) / 1000) : 0;
  return `${count(m.from)} → ${count(m.to)}, ${seconds(Math.round(ago))} ago${m.reason ? `: ${m.reason}` : ''}`;
}
