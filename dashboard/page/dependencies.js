'use strict';
// A card for each dependency, the worst first.

const STATE_GLYPHS = { closed: '●', strained: '◐', 'half-open': '◑', paused: '❚❚', open: '○' };

class Meter {
  constructor(label) {
    this.root = el('div', 'meter');
    this.label = el('span', 'what', label);
    this.bar = el('div', 'track');
    this.fill = el('div', 'fill');
    this.tick = el('div', 'tick');
    this.bar.append(this.fill, this.tick);
    this.value = el('span', 'value');
    this.root.append(this.label, this.bar, this.value);
    for (const [name, value] of [['role', 'meter'], ['aria-label', label], ['aria-valuemin', 0], ['aria-valuemax', 100]]) this.bar.setAttribute(name, value);
  }

  show(share, threshold, text, spoken) {
    this.fill.style.width = `${Math.min(100, 100 * share)}%`;
    this.tick.style.left = `${100 * threshold}%`;
    this.root.dataset.level = share >= threshold ? 'bad' : share >= threshold / 2 ? 'warn' : 'ok';
    setText(this.value, text);
    setAttr(this.bar, 'aria-valuenow', Math.round(100 * share));
    setAttr(this.bar, 'aria-valuetext', spoken);
  }
}

class Card {
  constructor(name) {
    this.root = el('li', 'card');
    const head = el('div', 'head');
    this.name = el('h3', '', name);
    this.name.title = name;
    this.state = el('span', 'state');
    this.glyph = el('i');
    this.glyph.setAttribute('aria-hidden', 'true');
    this.word = el('b');
    this.state.append(this.glyph, this.word);
    head.append(this.name, this.state);
    this.note = el('p', 'note');
    this.spark = new Sparkline(['fine', 'failed', 'refused']);
    this.strip = new Strip();
    const chart = el('div', 'mini');
    this.peak = el('span', 'scale');
    chart.append(this.spark.root, this.strip.root, this.peak);
    this.meters = el('div', 'meters');
    this.failures = new Meter('Failures');
    this.slow = new Meter('Slow');
    this.meters.append(this.failures.root, this.slow.root);
    const list = el('dl', 'figures');
    this.calls = pair(list, 'Calls/s');
    this.refused = pair(list, 'Refused/s');
    this.p50 = pair(list, 'p50');
    this.p99 = pair(list, 'p99');
    this.flight = pair(list, 'In flight');
    this.last = pair(list, 'Last error', 'wide');
    this.root.append(head, this.note, chart, this.meters, list);
  }

  draw(d, c, past, compact) {
    this.root.dataset.state = c.state;
    this.root.dataset.level = c.level;
    this.root.classList.toggle('compact', compact);
    setText(this.glyph, STATE_GLYPHS[c.state]);
    setText(this.word, c.word);
    setText(this.note, note(d, c));
    const peak = this.spark.draw(past);
    setText(this.peak, peak > 0 ? `${rate(peak)}/s` : '');
    this.strip.draw(past.state || []);
    const w = d.window;
    const counted = d.state === 'closed';
    const enough = w.calls >= w.minCalls;
    const f = failing(w);
    const share = (x) => (!counted ? 'not counted' : w.calls === 0 ? 'no calls' : percent(x));
    this.failures.show(f, w.failureRate, share(f), `${share(f)} of ${w.calls} calls, trips at ${percent(w.failureRate)}`);
    this.failures.root.title = `${w.failed} of ${w.calls} calls in ${seconds(w.length / 1e9)} failed; trips at ${percent(w.failureRate)} of at least ${w.minCalls}`;
    this.failures.root.classList.toggle('few', counted && !enough);
    for (const m of [this.failures, this.slow]) m.root.classList.toggle('idle', !counted || w.calls === 0);
    this.slow.root.classList.toggle('off', !w.slowCall);
    const s = slow(w);
    this.slow.show(w.slowCall ? s : 0, w.slowRate, w.slowCall ? share(s) : 'off', w.slowCall ? `${share(s)} take ${millis(nanos(w.slowCall))} or longer, trips at ${percent(w.slowRate)}` : 'off');
    if (w.slowCall) this.slow.root.title = `Slow: ${millis(nanos(w.slowCall))} or longer; trips at ${percent(w.slowRate)}`;
    setText(this.calls.dd, rate(lately(past.fine) + lately(past.failed)));
    const refused = lately(past.refused);
    setText(this.refused.dd, rate(refused));
    this.refused.box.classList.toggle('hot', refused > 0);
    setText(this.p50.dd, millis(past.p50));
    setText(this.p99.dd, millis(lately(past.p99, 1)));
    let flight = d.maxInFlight ? `${count(d.inFlight)} / ${count(d.maxInFlight)}` : count(d.inFlight);
    if (d.bound.waiting) flight += ` +${count(d.bound.waiting)}`;
    setText(this.flight.dt, d.bound.selfTuned ? 'In flight, tuned' : 'In flight');
    setText(this.flight.dd, flight);
    this.flight.box.classList.toggle('hot', d.maxInFlight > 0 && d.inFlight >= d.maxInFlight);
    setText(this.last.dd, d.lastFailure ? `${d.lastFailure} · ${clock(Date.parse(d.failedAt))}` : 'none');
    this.last.dd.title = this.last.dd.textContent;
  }
}

function note(d, c) {
  const parts = [];
  if (c.note) parts.push(c.note);
  if (d.mode === 'auto') {
    if (c.state === 'paused') parts.push(`upstream asked for ${seconds(d.pausedFor / 1e9)} more`);
    else if (c.state === 'open') parts.push(d.nextProbe > 0 ? `next probe in ${seconds(d.nextProbe / 1e9)}` : 'probe is due');
    else if (c.state === 'half-open') parts.push('probing');
  } else parts.push('by the operator');
  const since = Date.parse(d.since);
  if (since > Date.parse('2000-01-01')) parts.push(`for ${seconds(Math.max(0, Math.round((nowMs() - since) / 1000)))}`);
  if (d.required) parts.push('required');
  return parts.join(' · ');
}

const cards = new Map();

function drawDependencies(filter) {
  const all = store.now.dependencies.map((d, i) => {
    const c = condition(d);
    const past = store.dependencies[i] || {};
    if (!cards.has(d.name)) cards.set(d.name, new Card(d.name));
    return { d, c, past, i, card: cards.get(d.name) };
  });
  const shown = all.filter((x) => x.d.name.toLowerCase().includes(filter));
  shown.sort((a, b) => b.c.rank - a.c.rank || a.i - b.i);
  for (const x of shown) x.card.draw(x.d, x.c, x.past, all.length > 12 && x.c.level === 'ok');
  order(byId('cards'), shown.map((x) => x.card.root));
  const names = new Set(all.map((x) => x.d.name));
  for (const name of cards.keys()) if (!names.has(name)) cards.delete(name);
  const n = { bad: 0, warn: 0, ok: 0 };
  for (const x of all) n[x.c.level]++;
  const words = [n.bad && `${n.bad} down`, n.warn && `${n.warn} to watch`, n.ok && `${n.ok} up`].filter(Boolean);
  setText(byId('dependencies-sum'), words.join(' · '));
  byId('no-cards').hidden = all.length > 0;
}
