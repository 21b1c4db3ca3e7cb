'use strict';
// Words and nodes. Every name is put in as text, never as markup.

const byId = (id) => document.getElementById(id);

function el(tag, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

function svg(tag, className) {
  const node = document.createElementNS('http://www.w3.org/2000/svg', tag);
  if (className) node.setAttribute('class', className);
  return node;
}

// Nodes are only touched when something has changed: a page that is still is
// cheap, and a screen reader is left alone.
function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function setAttr(node, name, value) {
  if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value);
}

const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });

function count(x) {
  if (x >= 1e6) return `${(x / 1e6).toFixed(x >= 1e7 ? 0 : 1)} M`;
  return whole.format(x);
}

function rate(x) {
  if (!(x > 0)) return '0';
  return x < 10 ? x.toFixed(1) : count(x);
}

function millis(ms) {
  if (!(ms > 0)) return '–';
  if (ms < 0.1) return `${Math.round(ms * 1000)} µs`;
  if (ms < 1) return `${ms.toFixed(2)} ms`;
  if (ms < 10) return `${ms.toFixed(1)} ms`;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  return seconds(ms / 1000);
}

function seconds(s) {
  if (s < 10) return `${Number.isInteger(s) ? s : s.toFixed(1)} s`;
  if (s < 120) return `${Math.round(s)} s`;
  if (s < 7200) return `${Math.round(s / 60)} min`;
  if (s < 172800) return `${Math.round(s / 3600)} h`;
  return `${Math.round(s / 86400)} d`;
}

const nanos = (ns) => ns / 1e6; // to milliseconds

const percent = (x) => `${x > 0 && x < 0.01 ? (100 * x).toFixed(1) : Math.round(100 * x)} %`;

const clockFormat = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit' });
const minuteFormat = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit' });
const clock = (ms) => clockFormat.format(ms);
const minute = (ms) => minuteFormat.format(ms);

// A term and what it is now, in a list of them.
function pair(list, term, className) {
  const box = el('div', className);
  const dt = el('dt', '', term);
  const dd = el('dd');
  box.append(dt, dd);
  list.append(box);
  return { box, dt, dd };
}

// Puts nodes in an order, moving as few as it can.
function order(parent, nodes) {
  let at = parent.firstChild;
  for (const node of nodes) {
    if (node === at) at = at.nextSibling;
    else parent.insertBefore(node, at);
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}
