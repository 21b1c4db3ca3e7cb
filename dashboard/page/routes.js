'use strict';
// A row for each route: those that refuse first, those that rest last.

class Row {
  constructor(name) {
    this.root = el('tr');
    this.root.setAttribute('role', 'row');
    const head = el('th', 'name');
    head.setAttribute('role', 'rowheader');
    head.scope = 'row';
    this.label = el('span', 'label', name);
    this.label.title = name;
    this.sub = el('span', 'sub');
    head.append(this.label, this.sub);
    this.root.append(head);
    const cell = (className, label) => {
      const td = el('td', className);
      td.setAttribute('role', 'cell');
      if (label) td.dataset.label = label;
      this.root.append(td);
      return td;
    };
    this.spark = new Sparkline(['served', 'failed', 'refused']);
    cell('chart').append(this.spark.root);
    this.admitted = cell('n', 'admitted/s');
    this.failed = cell('n', 'failed/s');
    this.refused = cell('n', 'refused/s');
    this.p50 = cell('n', 'p50');
    this.p99 = cell('n', 'p99');
    this.flight = cell('n', 'in flight');
    this.tokens = cell('n', 'tokens');
  }

  draw(r, past) {
    const served = lately(past.served);
    const failed = lately(past.failed);
    const refused = lately(past.refused);
    this.spark.draw(past);
    const put = (td, text, hot) => {
      setText(td, text);
      td.classList.toggle('zero', text === '0' || text === '–');
      td.classList.toggle('hot', Boolean(hot));
    };
    put(this.admitted, rate(served + failed));
    put(this.failed, rate(failed), failed > 0);
    put(this.refused, rate(refused), refused > 0);
    put(this.p50, millis(past.p50));
    put(this.p99, millis(lately(past.p99, 1)));
    put(this.flight, r.maxInFlight ? `${count(r.inFlight)} / ${count(r.maxInFlight)}` : count(r.inFlight));
    put(this.tokens, r.limit.unlimited ? '–' : `${count(r.limit.tokens)} / ${count(r.limit.burst)}`);
    const sub = [];
    if (r.bound.selfTuned) sub.push(r.bound.lastMove.to ? `self-tuned: ${moved(r.bound.lastMove)}` : 'self-tuned');
    if (r.bound.shedding) sub.push('shedding');
    if (r.bound.waiting) sub.push(`${count(r.bound.waiting)} waiting`);
    if (r.cost !== 1) sub.push(`cost ${r.cost}`);
    if (r.needs && r.needs.length) sub.push(`needs ${r.needs.join(', ')}`);
    setText(this.sub, sub.join(' · '));
    this.sub.title = this.sub.textContent;
    this.root.classList.toggle('refusing', refused > 0);
    this.root.classList.toggle('idle', !this.busy(past));
  }

  busy(past) {
    return ['served', 'failed', 'refused'].some((k) => (past[k] || []).some((v) => v > 0));
  }
}

const rows = new Map();

function drawRoutes(filter) {
  const all = store.now.routes.map((r, i) => {
    if (!rows.has(r.name)) rows.set(r.name, new Row(r.name));
    const past = store.routes[i] || {};
    const row = rows.get(r.name);
    const rank = lately(past.refused, 10) > 0 ? 2 : row.busy(past) ? 1 : 0;
    return { r, past, i, row, rank };
  });
  const shown = all.filter((x) => x.r.name.toLowerCase().includes(filter));
  shown.sort((a, b) => b.rank - a.rank || a.i - b.i);
  for (const x of shown) x.row.draw(x.r, x.past);
  order(byId('routes'), shown.map((x) => x.row.root));
  const names = new Set(all.map((x) => x.r.name));
  for (const name of rows.keys()) if (!names.has(name)) rows.delete(name);
  const refusing = all.filter((x) => x.rank === 2).length;
  setText(byId('routes-sum'), all.length ? `${all.length}${refusing ? `, ${refusing} refusing` : ''}` : '');
  byId('no-routes').hidden = all.length > 0;
  document.querySelector('.routes').hidden = all.length === 0;
}
