// The dashboard: takes the pulse of the node from a stream, or by asking once a second where the stream fails, and shows it.
"use strict";

const STALLED_MS = 3000; // without news for so long, the stream is not relied on
const STALE_MS = 5000; // and what is shown is called old
const REOPEN_MS = 5000; // from a stream that the browser has given up to the next one
const POLL_MS = 1000;
const NO_PEERS_MS = 60_000; // a node without peers is asked for them that often: it may be started anew with some
const SIGNS = { OK: "●", DEGRADED: "▲", DRAINING: "◆", FAILED: "■", SILENT: "✕" };
const DASHES = [[], [6, 4], [2, 3], [10, 3, 2, 3], [1, 4]];
const COLOURS = ["--one", "--two", "--three", "--four", "--five"];
const CODES_MAX = 5;
const JUMP_S = 3; // between points, which are a second apart

const $ = (id) => document.getElementById(id);
const isRadiator = new URLSearchParams(location.search).get("radiator") === "1";
if (isRadiator) document.documentElement.classList.add("radiator");

// --- Figures as text -----------------------------------------------------------------------------

const whole = new Intl.NumberFormat("en-GB", { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat("en-GB", { notation: "compact", maximumSignificantDigits: 3 });
const count = (n) => (n < 100_000 ? whole.format(n) : short.format(n));
const rate = (n) => (n > 0 && n < 10 ? n.toFixed(1) : count(n));
const percent = (ratio) => `${Math.round(ratio * 100)} %`;
const ms = (n) => (n < 1 ? n.toFixed(2) : n < 10 ? n.toFixed(1) : count(n));
function bytes(n) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  for (; Math.abs(n) >= 1024 && unit < units.length - 1; unit++) n /= 1024;
  return `${Math.abs(n) < 10 && unit > 0 ? n.toFixed(1) : Math.round(n)} ${units[unit]}`;
}
function duration(seconds) {
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172_800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86_400)} days`;
}
const sum = (object) => Object.values(object).reduce((all, n) => all + n, 0);

function text(id, value) {
  const element = $(id);
  if (element.textContent !== value) element.textContent = value;
}

// --- History and plots ---------------------------------------------------------------------------

let points = [];
let pointsMax = 300;
const plots = {};

class Plot {
  constructor(id, series, options = {}) {
    Object.assign(this, { id, options, element: $(id), names: [] });
    this.setSeries(series);
    new ResizeObserver(() => this.resize()).observe(this.element);
  }

  setSeries(series) {
    this.series = series;
    this.names = series.map((one) => one.name);
    this.build();
  }

  // Also after the colours have changed.
  build() {
    this.plot?.destroy();
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    const size = isRadiator ? 18 : 11;
    const axis = {
      stroke: colour("--quiet"),
      grid: { stroke: colour("--line"), width: 1 },
      ticks: { show: false },
      font: `${size}px system-ui, sans-serif`,
    };
    const clock = (seconds) => new Date(seconds * 1000).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });
    const scale = this.options.logarithmic
      ? { distr: 3, range: (_, least, most) => [least > 0 ? 10 ** Math.floor(Math.log10(least)) : 0.01, most > 0 ? 10 ** Math.ceil(Math.log10(most * 1.01)) : 10] }
      : { range: (_, __, most) => [0, most > 0 ? most * 1.1 : 10] };
    this.plot = new uPlot(
      {
        ...this.size(),
        legend: { show: false },
        cursor: { show: false },
        padding: [8, size * 1.5, 0, 0],
        scales: { x: { time: true, range: (_, least, most) => [Math.min(least, most - pointsMax), most] }, y: scale },
        axes: [
          { ...axis, space: size * 7, size: size * 2, values: (_, splits) => splits.map(clock) },
          { ...axis, size: size * 4.2, space: size * 2.6, values: (_, splits) => splits.map((v) => (v === null ? "" : v >= 1000 ? short.format(v) : String(+v.toPrecision(3)))) },
        ],
        series: [
          {},
          ...this.series.map((_, index) => ({
            stroke: colour(COLOURS[index % COLOURS.length]),
            dash: DASHES[index % DASHES.length],
            width: isRadiator ? 3 : 1.75,
            points: { show: false },
          })),
        ],
      },
      this.data(),
      this.element,
    );
    this.legend();
  }

  size() {
    return { width: Math.max(this.element.clientWidth, 80), height: Math.max(this.element.clientHeight, 60) };
  }

  resize() {
    const { width, height } = this.size();
    if (width !== this.plot.width || height !== this.plot.height) this.plot.setSize({ width, height });
  }

  data() {
    return [points.map((point) => point.time), ...this.series.map((one) => points.map((point) => one.of(point)))];
  }

  show() {
    this.plot.setData(this.data());
    this.legend();
  }

  // Names, lines and newest figures beside the plot; and the same as one sentence for who cannot see it.
  legend() {
    const newest = points.at(-1);
    const list = $(`${this.id}-legend`);
    const figure = (one) => {
      const value = newest ? one.of(newest) : null;
      return value === null || value === undefined ? "–" : this.options.format(value);
    };
    if (list.dataset.names !== this.names.join()) {
      list.dataset.names = this.names.join();
      list.replaceChildren(
        ...this.series.map((one, index) => {
          const item = document.createElement("li");
          const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
          const line = document.createElementNS("http://www.w3.org/2000/svg", "line");
          for (const [name, value] of [["x1", "0"], ["x2", "100%"], ["y1", "50%"], ["y2", "50%"], ["stroke-width", "2.5"], ["stroke-dasharray", DASHES[index % DASHES.length].join(" ")]]) line.setAttribute(name, value);
          line.style.stroke = `var(${COLOURS[index % COLOURS.length]})`;
          svg.setAttribute("aria-hidden", "true");
          svg.append(line);
          item.append(svg, `${one.name} `, document.createElement("b"));
          return item;
        }),
      );
      if (this.series.length === 0) {
        const item = document.createElement("li");
        item.textContent = "none in the last 5 minutes";
        list.append(item);
      }
    }
    this.series.forEach((one, index) => {
      list.children[index].querySelector("b").textContent = figure(one);
    });
    const range = (one) => {
      const values = points.map(one.of).filter((value) => value !== null && value !== undefined);
      if (values.length === 0) return `${one.name}: nothing`;
      return `${one.name}: now ${figure(one)}, between ${this.options.format(Math.min(...values))} and ${this.options.format(Math.max(...values))}`;
    };
    const spoken = this.series.map(range).join("; ") || "None.";
    this.element.setAttribute("aria-label", `Over ${duration(Math.max(points.length, 1))}. ${spoken}`);
  }
}

function refusalSeries() {
  const totals = {};
  for (const point of points) for (const [code, n] of Object.entries(point.refused)) totals[code] = (totals[code] ?? 0) + n;
  const codes = Object.keys(totals).sort((one, other) => totals[other] - totals[one]);
  const own = codes.length > CODES_MAX ? codes.slice(0, CODES_MAX - 1) : codes;
  const series = own.sort().map((code) => ({ name: code, of: (point) => point.refused[code] ?? 0 }));
  if (own.length < codes.length) {
    series.push({ name: "others", of: (point) => Math.max(0, sum(point.refused) - own.reduce((all, code) => all + (point.refused[code] ?? 0), 0)) });
  }
  return series;
}

function makePlots() {
  const took = (name, key) => ({ name, of: (point) => point.latency?.[key] ?? null });
  plots.flow = new Plot("flow", [{ name: "accepted", of: (point) => point.accepted }, { name: "confirmed", of: (point) => point.confirmed }], { format: rate });
  plots.latency = new Plot("latency", [took("p50", "p50_ms"), took("p99", "p99_ms"), took("p99.9", "p999_ms")], { format: ms, logarithmic: true });
  plots.refusals = new Plot("refusals", [], { format: rate });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => Object.values(plots).forEach((plot) => plot.build()));
}

function showPlots() {
  const series = refusalSeries();
  if (series.map((one) => one.name).join() !== plots.refusals.names.join()) plots.refusals.setSeries(series);
  for (const plot of Object.values(plots)) plot.show();
}

// A jump says that something was missed (a machine that slept), or that the node's clock was set: the node remembers what happened.
function addPoint(point) {
  if (!point) return;
  const step = points.length > 0 ? point.time - points.at(-1).time : 1;
  if (Math.abs(step) > JUMP_S) void refill();
  if (step <= 0) return;
  points.push(point);
  if (points.length > pointsMax) points.shift();
}

// --- The page ------------------------------------------------------------------------------------

function setVerdict(word, reason) {
  const shown = word === "SILENT" ? "NO SIGNAL" : word;
  $("verdict").dataset.word = word;
  text("sign", SIGNS[word] ?? "○");
  text("word", shown);
  text("reason", reason);
  announce(shown, reason);
  document.title = `${SIGNS[word] ?? ""} ${shown} · Forebay`;
}

// To who cannot see it: once, and again when it is something else, but not each time that a figure in the reason moves.
function announce(word, reason) {
  const kind = `${word}: ${reason.replace(/[0-9][0-9.:,]*/g, "#")}`;
  if ($("spoken").dataset.kind === kind) return;
  $("spoken").dataset.kind = kind;
  text("spoken", `${word}. ${reason}`);
}

function setBar(id, ratio, spoken) {
  const bar = $(id);
  const known = ratio !== null;
  bar.firstElementChild.style.width = `${known ? Math.min(100, ratio * 100) : 0}%`;
  bar.classList.toggle("high", known && ratio > 0.8);
  bar.setAttribute("aria-label", spoken);
}

function row(...cells) {
  const line = document.createElement("tr");
  cells.forEach((cell, index) => {
    const element = document.createElement(index === 0 ? "th" : "td");
    if (index === 0) element.scope = "row";
    if (cell.number) element.className = "n";
    if (cell.title) element.title = cell.title;
    element.append(cell.node ?? cell.text);
    line.append(element);
  });
  return line;
}
const number = (value) => ({ text: value, number: true });

function showReactors(reactors) {
  const body = $("reactors");
  while (body.children.length > reactors.length) body.lastElementChild.remove();
  reactors.forEach((reactor, core) => {
    if (!body.children[core]) {
      const busy = document.createElement("div");
      const bar = document.createElement("div");
      bar.className = "bar";
      bar.append(document.createElement("i"));
      busy.className = "busy";
      busy.append(bar, document.createElement("span"));
      body.append(row({ text: String(core) }, { node: busy }, number(""), number("")));
    }
    const [, busy, requests, open] = body.children[core].children;
    const bar = busy.querySelector(".bar");
    bar.firstElementChild.style.width = `${Math.min(100, reactor.busy_ratio * 100)}%`;
    bar.classList.toggle("high", reactor.busy_ratio > 0.8);
    busy.querySelector("span").textContent = percent(reactor.busy_ratio);
    requests.textContent = rate(reactor.requests_per_second);
    open.textContent = count(reactor.connections);
  });
}

function showApps(apps) {
  const body = $("apps");
  if (apps.length === 0) {
    if (!body.querySelector(".none")) {
      const cell = document.createElement("td");
      cell.colSpan = 4;
      cell.className = "none";
      cell.textContent = "No traffic.";
      const line = document.createElement("tr");
      line.append(cell);
      body.replaceChildren(line);
    }
    return;
  }
  body.replaceChildren(
    ...apps.map((app) =>
      row(
        { text: app.name ?? app.id, title: app.id },
        number(rate(app.accepted_per_second)),
        number(rate(app.rejected_per_second)),
        number(app.events_per_second ? count(app.events_per_second) : "none"),
      ),
    ),
  );
}

function show(pulse) {
  const { node, verdict, rates, latency, capacity, journal, broker, ledger } = pulse;
  setVerdict(verdict.word, verdict.reason);
  text("node-id", node.id);
  text("version", `version ${node.version}`);
  text("uptime", `up ${duration(node.uptime_seconds)}`);

  const refused = sum(rates.refused);
  text("accepted", rate(rates.accepted));
  text("confirmed", rate(rates.confirmed));
  text("refused", rate(refused));
  $("refused-figure").classList.toggle("some", refused > 0);
  text("requests", rate(rates.requests));
  text("p99", latency ? ms(latency.p99_ms) : "–");
  text("pending", count(ledger.pending));
  text("headroom", capacity ? String(Math.round(capacity.headroom_ratio * 100)) : "–");
  text("headroom-unit", capacity ? "%" : "too quiet");
  text("connections", count(pulse.connections));

  text("journal-bytes", bytes(journal.bytes));
  text("journal-max", `of ${bytes(journal.bytes_max)}`);
  setBar("journal-bar", journal.bytes / journal.bytes_max, `${percent(journal.bytes / journal.bytes_max)} full`);
  text("journal-growth", journal.growth_bytes_per_second === 0 ? "none" : `${bytes(journal.growth_bytes_per_second)}/s`);
  text("journal-full", journal.full_in_seconds === null ? "–" : duration(journal.full_in_seconds));
  text("journal-oldest", journal.oldest_pending_seconds === null ? (ledger.pending === 0 ? "none" : "–") : duration(journal.oldest_pending_seconds));

  text("broker-state", broker.configured ? (broker.up ? "✓ Up" : "✕ Away") : "None");
  $("broker-state").dataset.up = !broker.configured || broker.up ? "yes" : "no";
  text("broker-unconfirmed", count(broker.unconfirmed_messages));
  text("queue-batches", count(pulse.queue_batches));

  text("capacity-limit", capacity ? count(capacity.requests_per_second) : "–");
  text("capacity-unit", capacity ? "requests/s at the limit" : "too little traffic to tell");
  const used = capacity ? 1 - capacity.headroom_ratio : null;
  setBar("capacity-bar", used, capacity ? `${percent(used)} used` : "unknown");
  text("capacity-bound", capacity ? `the ${capacity.bound_by === "reactor" ? "fullest reactor" : capacity.bound_by}` : "–");

  showReactors(pulse.reactors);
  showApps(pulse.apps);
  for (const [name, value] of Object.entries(ledger)) text(`ledger-${name}`, whole.format(value));
  addPoint(pulse.point);
  showPlots();
}

// --- News of the node ----------------------------------------------------------------------------

const feed = { source: null, isPolling: false, pollAt: 0, heard: performance.now(), heardAt: null, version: null, reopenAt: 0 };

async function ask(path) {
  const response = await fetch(path, { signal: AbortSignal.timeout(2500), cache: "no-store" });
  // The session is over: instead of this page, there is one that asks for the token.
  if (response.status === 401) location.reload();
  if (!response.ok) throw new Error(`${path}: ${response.status}`);
  return response.json();
}

function take(pulse, way) {
  // Of another version there is another page.
  feed.version ??= pulse.node.version;
  if (pulse.node.version !== feed.version) location.reload();
  feed.heard = performance.now();
  feed.heardAt = new Date();
  document.documentElement.classList.remove("is-stale");
  $("feed").dataset.feed = way;
  text("feed-text", way === "stream" ? "live" : "live, by polling");
  show(pulse);
}

async function refill() {
  try {
    const history = await ask("/api/pulse/history");
    pointsMax = history.points_max;
    // From where the node's clock was last set back.
    const from = history.points.findLastIndex((point, index, all) => index > 0 && point.time <= all[index - 1].time);
    points = history.points.slice(Math.max(from, 0));
    showPlots();
  } catch {
    // The next gap, or the next reload, asks again.
  }
}

function openStream() {
  feed.source?.close();
  const source = new EventSource("/api/pulse/stream");
  feed.source = source;
  source.onmessage = (message) => {
    feed.isPolling = false;
    take(JSON.parse(message.data), "stream");
  };
  // A browser asks again by itself, unless it was answered with something else than a stream.
  source.onerror = () => {
    if (source.readyState === EventSource.CLOSED) {
      feed.reopenAt = performance.now() + REOPEN_MS;
      feed.isPolling = true;
    }
  };
}

async function poll() {
  if (feed.isAsking) return;
  feed.isAsking = true;
  feed.pollAt = performance.now() + POLL_MS;
  try {
    const pulse = await ask("/api/pulse");
    if (feed.isPolling) take(pulse, "polling");
  } catch {
    // Told below, once it has lasted.
  } finally {
    feed.isAsking = false;
  }
}

function look() {
  const now = performance.now();
  const silence = now - feed.heard;
  if (silence > STALLED_MS) feed.isPolling = true;
  if (feed.isPolling && now > feed.pollAt) void poll();
  if (now > peers.askAt) void askPeers();
  if (feed.source?.readyState === EventSource.CLOSED && now > feed.reopenAt) {
    feed.reopenAt = now + REOPEN_MS;
    openStream();
  }
  if (silence > STALE_MS) {
    document.documentElement.classList.add("is-stale");
    $("feed").dataset.feed = "stale";
    text("feed-text", `stale: nothing for ${duration(Math.floor(silence / 1000))}`);
    setVerdict("SILENT", feed.heardAt ? `The node does not answer. The figures below are of ${feed.heardAt.toLocaleTimeString("en-GB")}.` : "The node does not answer.");
  }
}

// --- The other nodes -----------------------------------------------------------------------------

const peers = { askAt: 0, isAsking: false };

async function askPeers() {
  if (peers.isAsking) return;
  peers.isAsking = true;
  peers.askAt = performance.now() + POLL_MS;
  try {
    const known = (await ask("/api/peers")).peers;
    const others = known.filter((peer) => !peer.is_self);
    if (known.length === 0) peers.askAt = performance.now() + NO_PEERS_MS;
    document.documentElement.classList.toggle("has-peers", others.length > 0);
    $("peers").hidden = others.length === 0;
    showPeers(others);
  } catch {
    // The node itself does not answer: that is told in large.
  } finally {
    peers.isAsking = false;
  }
}

function makeTile() {
  const tile = document.createElement("li");
  const part = (tag, name, ...inside) => {
    const element = document.createElement(tag);
    if (name) element.className = name;
    element.append(...inside);
    return element;
  };
  const pair = (term, name) => part("div", "", part("dt", "", term), part("dd", name));
  tile.append(
    part("h3", "", part("a", "name")),
    part("p", "word"),
    part("p", "why"),
    part("dl", "", pair("Accepted/s", "accepted"), pair("Confirmed/s", "confirmed"), pair("Journal", "journal"), pair("Waiting events", "pending"), pair("Version", "version"), pair("Last answer", "answered")),
  );
  return tile;
}

// Tiles are changed, not made anew, so that a link keeps the keyboard's focus.
function showPeers(others) {
  const list = $("tiles");
  while (list.children.length > others.length) list.lastElementChild.remove();
  others.forEach(({ url, pulse, trouble, answered_at }, index) => {
    const tile = list.children[index] ?? list.appendChild(makeTile());
    const put = (name, value) => {
      const element = tile.querySelector(`.${name}`);
      if (element.textContent !== value) element.textContent = value;
    };
    const word = trouble || !pulse ? "SILENT" : pulse.verdict.word;
    tile.dataset.word = word;
    const link = tile.querySelector("a");
    if (link.getAttribute("href") !== `${url}/`) link.setAttribute("href", `${url}/`);
    put("name", pulse ? pulse.node.id : new URL(url).host);
    put("word", `${SIGNS[word] ?? "○"} ${word === "SILENT" ? "NO ANSWER" : word}`);
    put("why", trouble ?? (pulse ? pulse.verdict.reason : "Not asked yet."));
    const figure = (of) => (pulse && !trouble ? of(pulse) : "–");
    put("accepted", figure((of) => rate(of.rates.accepted)));
    put("confirmed", figure((of) => rate(of.rates.confirmed)));
    put("journal", figure((of) => `${bytes(of.journal.bytes)} of ${bytes(of.journal.bytes_max)}`));
    put("pending", figure((of) => count(of.ledger.pending)));
    put("version", pulse ? pulse.node.version : "–");
    put("answered", answered_at === null ? "never" : new Date(answered_at * 1000).toLocaleTimeString("en-GB"));
  });
}

// --- The start ---------------------------------------------------------------------------------------

if (isRadiator) {
  $("view").textContent = "All figures";
  $("view").setAttribute("href", "/");
}
makePlots();
setInterval(look, POLL_MS / 2);
void refill().then(openStream);
