'use strict';
// Charts share one time scale: the right edge is the newest sample, the left one
// five minutes before. A drawing is 300 by 100, stretched to its place.

const WIDE = 300;
const HIGH = 100;

const across = (ms) => WIDE * (1 - (nowMs() - ms) / span());

// The least of a few round numbers that is at least x.
function roundUp(x) {
  if (!(x > 0)) return 1;
  const unit = 10 ** Math.floor(Math.log10(x));
  for (const step of [1, 1.5, 2, 3, 4, 5, 6, 8, 10]) {
    if (x <= step * unit) return step * unit;
  }
  return 10 * unit;
}

function drawing(className) {
  const root = svg('svg', className);
  root.setAttribute('viewBox', `0 0 ${WIDE} ${HIGH}`);
  root.setAttribute('preserveAspectRatio', 'none');
  root.setAttribute('aria-hidden', 'true');
  return root;
}

const two = (x) => Math.round(x * 100) / 100;

// The path of the area between two rows of heights.
function areaPath(xs, low, high) {
  if (!xs.length) return '';
  let d = '';
  for (let i = 0; i < xs.length; i++) d += `${i ? 'L' : 'M'}${two(xs[i])} ${two(high[i])}`;
  for (let i = xs.length - 1; i >= 0; i--) d += `L${two(xs[i])} ${two(low[i])}`;
  return `${d}Z`;
}

// The path of a line. Where there is no value it is interrupted.
function linePath(xs, ys) {
  let d = '';
  let pen = false;
  for (let i = 0; i < xs.length; i++) {
    if (ys[i] === null) { pen = false; continue; }
    const alone = !pen && (i + 1 === xs.length || ys[i + 1] === null);
    d += `${pen ? 'L' : 'M'}${two(xs[i])} ${two(ys[i])}${alone ? 'h0.5' : ''}`;
    pen = true;
  }
  return d;
}

// One lane: areas stacked from below, and lines, over a scale from 0.
class Lane {
  constructor(name, series, show) {
    this.series = series;
    this.show = show;
    const lane = document.querySelector(`[data-lane="${name}"]`);
    const plot = lane.querySelector('.plot');
    const legend = lane.querySelector('.legend');
    this.root = drawing('chart');
    for (const y of [0, 50]) {
      const grid = svg('path', 'grid');
      grid.setAttribute('d', `M0 ${y}H${WIDE}`);
      this.root.append(grid);
    }
    this.unknown = svg('path', 'unknown'); // before the first sample
    this.root.prepend(this.unknown);
    for (const s of series) {
      s.path = svg('path', `${s.line ? 'line' : 'area'} ${s.name}`);
      this.root.append(s.path);
    }
    this.marks = ['bad', 'warn', 'info'].map((level) => {
      const path = svg('path', `mark ${level}`);
      this.root.append(path);
      return { level, path };
    });
    this.top = el('span', 'scale');
    this.half = el('span', 'scale half');
    plot.append(this.root, this.top, this.half);
    for (const s of [...series].reverse()) {
      const item = pair(legend, s.label, s.name);
      s.item = item;
      item.dt.prepend(el('i'));
    }
  }

  draw(xs, columns, least) {
    const total = new Array(xs.length).fill(0);
    let most = least || 0;
    for (const s of this.series) {
      s.values = columns[s.name] || [];
      if (s.line) for (const v of s.values) most = Math.max(most, v);
      else s.values.forEach((v, i) => { total[i] += v; most = Math.max(most, total[i]); });
    }
    setAttr(this.unknown, 'd', xs.length && xs[0] > 2 ? `M0 0H${two(xs[0])}V${HIGH}H0Z` : '');
    const top = roundUp(most);
    const y = (v) => HIGH * (1 - v / top);
    let low = new Array(xs.length).fill(HIGH);
    const sum = new Array(xs.length).fill(0);
    for (const s of this.series) {
      if (s.line) {
        setAttr(s.path, 'd', linePath(xs, s.values.map((v) => (v > 0 ? y(v) : null))));
        continue;
      }
      s.values.forEach((v, i) => { sum[i] += v; });
      const high = sum.map(y);
      setAttr(s.path, 'd', s.values.some((v) => v > 0) ? areaPath(xs, low, high) : '');
      low = high;
    }
    setText(this.top, this.show(top));
    setText(this.half, this.show(top / 2));
    for (const mark of this.marks) {
      const at = store.events.filter((e) => e.level === mark.level && across(e.time) >= 0);
      setAttr(mark.path, 'd', at.map((e) => `M${two(across(e.time))} 0V${HIGH}`).join(''));
    }
  }
}

// A small chart of stacked areas. Samples are put together by threes, on a fixed
// raster, so that it does not flicker as it moves.
class Sparkline {
  constructor(names) {
    this.names = names;
    this.root = drawing('spark');
    this.paths = names.map((name) => {
      const path = svg('path', `area ${name}`);
      this.root.append(path);
      return path;
    });
  }

  draw(columns) {
    const raster = 3000;
    const xs = [];
    const cells = this.names.map(() => []);
    const n = [];
    let last = -1;
    store.times.forEach((t, i) => {
      const cell = Math.floor(t / raster);
      if (cell !== last) {
        last = cell;
        xs.push(across((cell + 1) * raster));
        n.push(0);
        for (const c of cells) c.push(0);
      }
      const at = xs.length - 1;
      n[at]++;
      this.names.forEach((name, k) => { cells[k][at] += (columns[name] || [])[i] || 0; });
    });
    if (xs.length) xs[xs.length - 1] = Math.min(xs[xs.length - 1], WIDE);
    let most = 0;
    const sum = new Array(xs.length).fill(0);
    for (const c of cells) c.forEach((v, i) => { c[i] = v / n[i]; sum[i] += c[i]; most = Math.max(most, sum[i]); });
    let low = new Array(xs.length).fill(HIGH);
    sum.fill(0);
    cells.forEach((c, k) => {
      c.forEach((v, i) => { sum[i] += v; });
      const high = sum.map((v) => HIGH * (1 - (most ? v / most : 0) * 0.96));
      setAttr(this.paths[k], 'd', c.some((v) => v > 0) ? areaPath(xs, low, high) : '');
      low = high;
    });
    return most;
  }
}

// A strip of the states that a breaker was in.
class Strip {
  constructor() {
    this.root = drawing('strip');
    this.paths = ['closed', 'half-open', 'open'].map((state) => {
      const path = svg('path', `state-${state}`);
      this.root.append(path);
      return path;
    });
  }

  draw(states) {
    const d = ['', '', ''];
    let from = 0;
    for (let i = 1; i <= states.length; i++) {
      if (i < states.length && states[i] === states[from]) continue;
      const left = Math.max(0, across(store.times[from] - 1000));
      const right = across(store.times[i - 1]);
      if (right > 0) d[states[from]] += `M${two(left)} 0H${two(right)}V${HIGH}H${two(left)}Z`;
      from = i;
    }
    this.paths.forEach((path, k) => setAttr(path, 'd', d[k]));
  }
}
