'use strict';
// The one look: is anything wrong, and what.

const GLYPHS = { none: '·', ok: '✓', warn: '!', bad: '✕' };

const WHY = [
  ['overload', 'overload', 'overload'],
  ['limits', 'over the limits', 'limits'],
  ['dependency', 'a dependency is down', 'dependencies'],
  ['draining', 'shutting down', 'shutdown'],
];

// What a dependency is, in a word, with how bad that is.
function condition(d) {
  if (d.mode === 'open') return { word: 'Forced open', level: 'bad', state: 'open', rank: 5 };
  if (d.mode === 'closed') return { word: 'Forced closed', level: 'warn', state: 'closed', rank: 2.5 };
  if (d.state === 'open' && d.pausedFor > 0 && !(d.nextProbe > d.pausedFor)) return { word: 'Paused', level: 'warn', state: 'paused', rank: 4 };
  if (d.state === 'open') return { word: 'Open', level: 'bad', state: 'open', rank: 6 };
  if (d.state === 'half-open') return { word: 'Half-open', level: 'warn', state: 'half-open', rank: 5 };
  const w = d.window;
  const close = w.calls >= w.minCalls && Math.max(failing(w) / w.failureRate, w.slowCall ? slow(w) / w.slowRate : 0) >= 0.5;
  if (close || w.streak >= w.minCalls / 2) return { word: 'Closed', note: 'near its threshold', level: 'warn', state: 'strained', rank: 3 };
  if (d.bound.shedding) return { word: 'Closed', note: 'bulkhead full', level: 'warn', state: 'strained', rank: 3 };
  return { word: 'Closed', level: 'ok', state: 'closed', rank: w.failed > 0 ? 1 : 0 };
}

const failing = (w) => (w.calls ? w.failed / w.calls : 0);
const slow = (w) => (w.calls ? w.slow / w.calls : 0);

function judge() {
  const now = store.now;
  const reasons = [];
  let level = 'ok';
  const worse = (l) => { if (l === 'bad' || level === 'ok') level = l; };
  const s = store.server;
  const refusedBy = WHY.map(([key, words, noun]) => ({ words, noun, n: lately(s[key]) })).filter((x) => x.n > 0).sort((a, b) => b.n - a.n);
  const refused = refusedBy.reduce((sum, x) => sum + x.n, 0);
  const failed = lately(s.failed);
  const total = lately(s.served) + failed + refused;
  let headline = total > 0 ? `Serving all ${rate(total)} requests per second` : 'Serving; no requests just now';
  let spoken = 'Serving normally.';

  if (now.phase === 'draining') {
    worse('warn');
    headline = 'Draining: readiness fails, requests are still served';
    spoken = headline;
  } else if (now.phase === 'refusing') {
    worse('bad');
    headline = 'Shutting down: what still comes is refused';
    spoken = headline;
  }
  if (refused > 0) {
    const share = refused / total;
    const serious = refusedBy.some((x) => x.words !== 'over the limits' && x.n / total >= 0.01);
    worse(serious ? 'bad' : 'warn'); // who asks too much is refused: that is what limits are for
    const verb = now.shadow ? 'Would refuse' : 'Refusing';
    const open = now.dependencies.filter((d) => d.state === 'open').map((d) => d.name);
    const cause = refusedBy[0].words === 'a dependency is down' && open.length
      ? `${open.slice(0, 2).join(' and ')}${open.length > 2 ? ` and ${open.length - 2} more` : ''} ${open.length > 1 ? 'are' : 'is'} down` : refusedBy[0].words;
    const text = `${verb} ${percent(share)} of requests: ${cause}`;
    if (now.phase === 'serving') {
      headline = text;
      spoken = `${verb} requests: ${cause}.`;
    } else reasons.push(text);
    reasons.push(`${rate(total - refused)}/s admitted, ${rate(refused)}/s refused` +
      (refusedBy.length > 1 ? ` (${refusedBy.map((x) => `${x.noun} ${rate(x.n)}/s`).join(', ')})` : ''));
  }
  const hot = [];
  if (now.requests.bound.shedding) hot.push(`the server’s bound of ${count(now.requests.maxInFlight)}`);
  for (const r of now.routes) if (r.bound.shedding) hot.push(`the bound of ${count(r.maxInFlight)} of route ${r.name}`);
  if (hot.length) reasons.push(`Sheds at ${hot.slice(0, 3).join(', ')}${hot.length > 3 ? ` and ${hot.length - 3} more` : ''}`);
  const down = now.dependencies.map((d) => ({ d, c: condition(d) })).filter((x) => x.c.level !== 'ok').sort((a, b) => b.c.rank - a.c.rank);
  for (const { d, c } of down.slice(0, 3)) {
    worse(c.level);
    let text = `${d.name} is ${c.word.toLowerCase()}`;
    if (c.note) text = `${d.name}: ${c.note}, ${percent(failing(d.window))} of calls fail`;
    if (d.lastFailure && c.rank >= 5 && d.mode === 'auto') text += ` (${d.lastFailure})`;
    if (c.state === 'open' && d.nextProbe > 0) text += `, next probe in ${seconds(d.nextProbe / 1e9)}`;
    if (c.state === 'paused') text += ` for ${seconds(d.pausedFor / 1e9)} more`;
    reasons.push(text);
  }
  if (down.length > 3) reasons.push(`${down.length - 3} more dependencies need a look`);
  if (down.length && refused === 0 && now.phase === 'serving') {
    const { d, c } = down[0];
    headline = c.note ? `${d.name} is ${c.note}` : `${d.name} is ${c.word.toLowerCase()}`;
    spoken = `${headline}.`;
    if (c.rank >= 4) reasons.shift();
    if (c.state === 'open' && d.nextProbe > 0) headline += `, next probe in ${seconds(d.nextProbe / 1e9)}`;
    if (c.rank >= 4 && d.lastFailure) reasons.unshift(`Last error: ${d.lastFailure}`);
  }
  if (failed > 0 && failed / total >= 0.01) {
    worse('warn');
    reasons.push(`${percent(failed / total)} of requests fail (${rate(failed)}/s answered with 5xx)`);
  }
  if (level === 'ok') {
    const p99 = Math.max(...(s.p99 || []).slice(-5), 0);
    reasons.push(p99 ? `p99 ${millis(p99)} · ${healthyCount(now)}` : healthyCount(now));
  }
  if (now.health === 'fail' && now.phase === 'serving') reasons.push('Readiness fails: a required dependency is open');
  return { level, headline, spoken, reasons };
}

function healthyCount(now) {
  const n = now.dependencies.length;
  return n === 0 ? 'no dependencies' : n === 1 ? 'its dependency is up' : `all ${n} dependencies are up`;
}

function showVerdict() {
  const v = judge();
  setAttr(byId('verdict'), 'data-level', v.level);
  setText(byId('verdict-glyph'), GLYPHS[v.level]);
  setText(byId('headline'), v.headline);
  setText(byId('spoken'), v.spoken);
  const list = byId('reasons');
  while (list.children.length > v.reasons.length) list.lastChild.remove();
  v.reasons.forEach((text, i) => setText(list.children[i] || list.appendChild(el('li')), text));
  document.title = `${GLYPHS[v.level]} ${v.level === 'ok' ? '' : `${v.spoken} `}${store.title}`;
}
