'use strict';
// What is known of the server: the samples of five minutes, and how it is now.

const store = { boot: '', seq: 0, kept: 300, title: 'guard', times: [], server: {}, routes: [], dependencies: [], events: [], now: null, before: null, end: 0 };

// Takes an update. Reports whether there was something new in it.
function take(update) {
  if (update.boot !== store.boot) { // another process
    Object.assign(store, { boot: update.boot, seq: 0, times: [], server: {}, routes: [], dependencies: [], events: [], now: null, before: null });
  }
  if (store.now && update.seq <= store.seq) return false;
  const had = store.times.length;
  const skip = Math.max(0, update.times.length - (update.seq - store.seq)); // seen already
  const fresh = update.times.slice(skip);
  const append = (to, from) => {
    for (const key of Object.keys(from)) {
      if (!Array.isArray(from[key])) { to[key] = from[key]; continue; }
      const before = to[key] || new Array(had).fill(0); // it is younger than the rest
      to[key] = before.concat(from[key].slice(skip)).slice(-update.kept);
    }
  };
  append(store.server, update.server);
  update.routes.forEach((r, i) => append(store.routes[i] ||= {}, r));
  update.dependencies.forEach((d, i) => append(store.dependencies[i] ||= {}, d));
  store.times = store.times.concat(fresh).slice(-update.kept);
  const oldest = update.events.length ? update.events[0].seq : Infinity;
  store.events = store.events.filter((e) => e.seq < oldest).concat(update.events).slice(-200);
  store.before = store.now;
  store.now = update.now;
  store.end = Date.parse(update.now.time);
  store.seq = update.seq;
  store.kept = update.kept;
  store.title = update.title;
  return true;
}

const nowMs = () => store.end;

const span = () => store.kept * 1000;

// The mean of the last n samples of a column.
function lately(column, n = 3) {
  const tail = (column || []).slice(-n);
  return tail.length ? tail.reduce((a, b) => a + b, 0) / tail.length : 0;
}

// A counter's rate since the snapshot before.
function since(now, before) {
  if (!store.before || before === undefined) return 0;
  const elapsed = (Date.parse(store.now.time) - Date.parse(store.before.time)) / 1000;
  return elapsed > 0 ? Math.max(0, now - before) / elapsed : 0;
}
