'use strict';
// The connection, and what is shown of it.

const LINKS = {
  connecting: 'Connecting…',
  live: 'Live',
  polling: 'Live, polling',
  stale: 'No news',
  lost: 'Disconnected',
  denied: 'Not allowed',
};

let link = 'connecting';
let source = null; // the stream, if there is one
let timer = 0;
let failures = 0; // of streams, in a row, before their first update
let tries = 0; // of polls that failed, in a row
let heard = 0; // when the last update came, by this machine's clock
let pausedAt = null;

function setLink(to) {
  if (link === to && to !== 'lost') return;
  link = to;
  document.body.dataset.link = to;
  showLink();
}

function showLink() {
  setText(byId('link'), pausedAt !== null ? 'Paused' : LINKS[link]);
  document.body.classList.toggle('paused', pausedAt !== null);
  const banner = byId('banner');
  let text = '';
  const last = heard ? ` What is shown is from ${clock(pausedAt ?? heard)}.` : '';
  if (link === 'lost') text = `The server cannot be reached; trying again.${last}`;
  else if (link === 'stale') text = `The server is connected, but sends nothing.${last}`;
  else if (link === 'denied') text = 'The server does not allow this page to read its figures.';
  else if (pausedAt !== null) text = `Paused at ${clock(pausedAt)}. The server goes on; so does the recording.`;
  banner.hidden = text === '';
  setText(banner, text);
  if (link === 'lost' || link === 'denied') document.title = `✕ ${LINKS[link]} ${store.title}`;
}

function render() {
  if (!store.now || pausedAt !== null) return;
  const filter = byId('filter').value.trim().toLowerCase();
  setText(byId('title'), store.title);
  setText(byId('meta'), `${store.now.phase} · ${store.now.shadow ? 'shadow mode · ' : ''}up ${seconds(Math.round(store.now.uptime / 1e9))}`);
  document.body.classList.toggle('shadow', store.now.shadow);
  byId('filter-box').hidden = store.now.routes.length + store.now.dependencies.length <= 12;
  showVerdict();
  drawServer();
  drawDependencies(filter);
  drawRoutes(filter);
  drawEvents();
}

function receive(text, how) {
  const fresh = take(JSON.parse(text));
  if (fresh || !heard) heard = Date.now();
  failures = how === 'live' ? 0 : failures;
  tries = 0;
  if (fresh || link !== 'stale') setLink(how);
  document.body.dataset.seq = store.seq;
  if (fresh) render();
}

const address = (format) => `?format=${format}&after=${store.boot}.${store.seq}`;

function again(what, wait) {
  clearTimeout(timer);
  timer = setTimeout(what, wait);
}

function connect() {
  if (source) source.close();
  clearTimeout(timer);
  if (!('EventSource' in window)) { poll(); return; }
  let came = false;
  source = new EventSource(address('stream'));
  source.onmessage = (e) => {
    came = true;
    receive(e.data, 'live');
  };
  source.onerror = () => {
    source.close();
    source = null;
    if (!came) failures++;
    poll();
  };
}

// Polling tells why a stream has ended, and stands in for one that cannot be had.
async function poll() {
  try {
    const answer = await fetch(address('poll'), { signal: AbortSignal.timeout(5000) });
    if (answer.status === 403 || answer.status === 401) {
      setLink('denied');
      again(poll, 10000);
      return;
    }
    if (!answer.ok) throw new Error(answer.statusText);
    const text = await answer.text();
    receive(text, source ? 'live' : 'polling');
    if (source) return; // a stream was opened meanwhile
    polls++;
    if (document.hidden) again(poll, 5000);
    else if (failures < 3 || polls % 15 === 0) again(connect, 500);
    else again(poll, 1000);
  } catch {
    tries++;
    setLink('lost');
    again(poll, Math.min(5000, 500 * 2 ** Math.min(tries, 4)));
  }
}
let polls = 0;

// A browser has six connections to a host: a page that nobody sees leaves its own.
document.addEventListener('visibilitychange', () => {
  if (document.hidden && source) {
    source.close();
    source = null;
    again(poll, 5000);
  } else if (!document.hidden && !source) connect();
});

byId('pause').addEventListener('click', () => {
  pausedAt = pausedAt === null ? heard || Date.now() : null;
  setAttr(byId('pause'), 'aria-pressed', pausedAt !== null);
  setText(byId('pause'), pausedAt === null ? 'Pause' : 'Resume');
  showLink();
  render();
});

byId('filter').addEventListener('input', render);

setInterval(() => {
  const silence = Date.now() - heard;
  if ((link === 'live' || link === 'polling') && silence > 5000) setLink('stale');
  if (link === 'stale' && source && silence > 15000) { // the other end may be gone without a word
    source.close();
    source = null;
    poll();
  }
}, 1000);

connect();
