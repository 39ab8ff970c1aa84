"use strict";
{
  const CELL = 14; // px from one cell to the next, as in page.css
  const PER_LINE = innerWidth < 520 ? 16 : 32;
  const PAGE = 100;
  const DRAWN_AT_ONCE = 200;

  // What is in one row of the table: the key in the data, the heading, whether it is the VF's own
  // and not its PF's, and whether it is kept whole on paper.
  const COLUMNS = [
    {key: "host", title: "host"},
    {key: "pf", title: "PF"},
    {key: "vf", title: "VF", own: true},
    {key: "state", title: "state", own: true, whole: true},
    {key: "mzid", title: "materialization", own: true},
    {key: "nic", title: "guest NIC", own: true},
    {key: "vlan", title: "VLAN", own: true},
    {key: "mac", title: "MAC", own: true, whole: true},
    {key: "address", title: "PCI address", own: true, whole: true},
    {key: "driver", title: "driver", own: true, whole: true},
    {key: "leaf", title: "leaf"},
    {key: "port", title: "leaf port"},
    {key: "note", title: "", own: true},
  ];
  const FINDABLE = new Set(["host", "pf", "mzid", "nic", "vlan", "leaf"]);
  const STATES = ["free", "driver", "held", "foreign", "error"];

  const byId = id => document.getElementById(id);
  const {strings, lists, pfs} = JSON.parse(byId("data").textContent);
  const natural = new Intl.Collator("en", {numeric: true});
  const column = new Map(COLUMNS.map(each => [each.key, each]));
  const words = Object.fromEntries(
    STATES.map(state => [state, document.querySelector(`[data-state=${state}] span`).textContent.trim()]));

  // Row r of the table is VF number r - first[pf] of PF pfOf[r].
  const sizes = pfs.vf.map(list => lists[list].length);
  const first = [];
  const total = sizes.reduce((sum, size) => (first.push(sum), sum + size), 0);
  const pfOf = new Uint32Array(total);
  sizes.forEach((size, pf) => pfOf.fill(pf, first[pf], first[pf] + size));

  function place({key, own}, row) {
    const pf = pfOf[row];
    return own ? lists[pfs[key][pf]][row - first[pf]] : pfs[key][pf];
  }
  const text = (key, row) => strings[place(column.get(key), row)];
  const NONE = {vlan: "0", mac: "00:00:00:00:00:00"};
  const shown = (key, row) => {
    const value = text(key, row);
    return key === "state" ? words[value] : value === NONE[key] ? "" : value;
  };

  function element(name, properties = {}, ...children) {
    const made = Object.assign(document.createElement(name), properties);
    made.append(...children);
    return made;
  }
  function svg(name, attributes = {}) {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  }
  function glyph(state) {
    const made = svg("svg", {class: `glyph ${state}`, viewBox: "0 0 12 12", "aria-hidden": "true"});
    made.append(svg("use", {href: `#${state}`}));
    return made;
  }
  const quoted = value => /[\s"]/.test(value) ? `"${value.replace(/[\\"]/g, "\\$&")}"` : value;
  function findable(key, value) {
    if (!FINDABLE.has(key) || !value) return value;
    const made = element("button", {type: "button", className: "find", textContent: value});
    made.dataset.query = `${key}:${quoted(value)}`;
    return made;
  }

  let rows = Uint32Array.from(pfOf, (_, row) => row); // those that match, in the table's order
  let matches = new Uint8Array(total).fill(1);
  let sorted = null; // the column and its direction, 1 or -1
  let page = 0;

  // A word is text that has to be in some column, or column:value, which is all of that column.
  // Between quotes, what has a meaning has a backslash before it.
  function parse(query) {
    return [...query.toLowerCase().matchAll(/(?:(\w+):)?"((?:\\.|[^"\\])*)"?|\S+/gs)].map(([word, key, value]) => {
      if (value !== undefined) value = value.replace(/\\(.)/gs, "$1");
      else {
        const colon = word.indexOf(":");
        if (column.has(word.slice(0, colon))) [key, value] = [word.slice(0, colon), word.slice(colon + 1)];
      }
      return {key: column.has(key) ? key : null, value: value ?? word};
    }).filter(({value}) => value);
  }

  function match(query, states) {
    const found = new Uint8Array(total).fill(1);
    for (const {key, value} of parse(query)) {
      const good = Uint8Array.from(strings, string =>
        key ? string.toLowerCase() === value : string.toLowerCase().includes(value));
      const columns = key ? [column.get(key)] : COLUMNS;
      for (let row = 0; row < total; row++)
        if (found[row]) found[row] = columns.some(each => good[place(each, row)]);
    }
    if (states.size)
      for (let row = 0; row < total; row++) if (!states.has(text("state", row))) found[row] = 0;
    return found;
  }

  function order() {
    rows = Uint32Array.from(pfOf, (_, row) => row).filter(row => matches[row]);
    if (!sorted) return;
    const used = new Set();
    for (const row of rows) used.add(place(sorted.column, row));
    const rank = new Map();
    const compare = sorted.column.key === "state"
      ? (a, b) => STATES.indexOf(a) - STATES.indexOf(b)
      : natural.compare;
    [...used].sort((a, b) => compare(strings[a], strings[b]))
      .forEach((string, position) => rank.set(string, position));
    const keys = new Uint32Array(total);
    for (const row of rows) keys[row] = rank.get(place(sorted.column, row));
    rows.sort((a, b) => sorted.direction * (keys[a] - keys[b]) || a - b);
  }

  function apply() {
    const states = new Set(Array.from(
      document.querySelectorAll("[data-state][aria-pressed=true]"), each => each.dataset.state));
    matches = match(byId("filter").value, states);
    page = 0;
    order();
    fill();
    draw();
  }

  function find(query) {
    for (const each of document.querySelectorAll("[data-state]")) each.ariaPressed = "false";
    byId("filter").value = query;
    apply();
    unpin();
    byId("vfs").scrollIntoView();
    byId("filter").focus({preventScroll: true});
  }

  const number = new Intl.NumberFormat("en").format;
  const counted = (count, what) => `${number(count)} ${what}${count === 1 ? "" : "s"}`;

  function fill() {
    const from = page * PAGE;
    const some = Array.from(rows.subarray(from, from + PAGE));
    byId("rows").tBodies[0].replaceChildren(...some.map(row => element("tr", {}, ...COLUMNS.map(({key, whole}) => {
      const cell = element("td", {className: whole ? "whole" : ""}, ...(key === "state" ? [glyph(text(key, row)), " "] : []), findable(key, shown(key, row)));
      if (cell.textContent.length > 30) cell.title = cell.textContent;
      return cell;
    }))));
    const range = rows.length > PAGE ? `${number(from + 1)} to ${number(from + some.length)} of ` : "";
    byId("count").textContent = `${range}${counted(rows.length, "VF")}`
      + (rows.length < total ? `, of ${number(total)} in all` : "");
    byId("previous").parentNode.hidden = rows.length <= PAGE;
    byId("previous").disabled = page === 0;
    byId("next").disabled = from + PAGE >= rows.length;
  }

  function turn(pages) {
    page += pages;
    fill();
  }

  function sortBy(heading, each) {
    const direction = heading.ariaSort === "ascending" ? -1 : 1;
    for (const other of heading.parentNode.children) other.ariaSort = null;
    heading.ariaSort = direction > 0 ? "ascending" : "descending";
    sorted = {column: each, direction};
    page = 0;
    order();
    fill();
  }

  // The tables of sums are all there; their rows are moved.
  function sortSums(heading) {
    const direction = heading.ariaSort === "ascending" ? -1 : 1;
    const index = heading.cellIndex;
    for (const other of heading.parentNode.children) other.ariaSort = null;
    heading.ariaSort = direction > 0 ? "ascending" : "descending";
    const body = heading.closest("table").tBodies[0];
    const value = row => row.cells[index].textContent.replace(/(\d),(?=\d)/g, "$1");
    const keyed = Array.from(body.rows, row => [value(row), row]);
    keyed.sort(([a], [b]) => direction * natural.compare(a, b));
    body.append(...keyed.map(([, row]) => row));
  }

  function sortable(heading, sort) {
    const button = element("button", {type: "button"}, ...heading.childNodes);
    button.addEventListener("click", () => sort(heading));
    heading.replaceChildren(button);
    return heading;
  }

  // Each state's shape, as a path that begins at its cell's corner.
  const shapes = Object.fromEntries(STATES.map(state => {
    const [, x, y, rest] = byId(state).firstChild.getAttribute("d").match(/^M(\S+) (-?[\d.]+)(.*)$/);
    return [state, (left, top) => `M${left + Number(x)} ${top + Number(y)}${rest}`];
  }));

  const strips = new Map(); // by PF, in the order of the map
  let drawing = 0;

  // One path for each state, not an element for each VF: a facility can have half a million.
  function drawPf(pf) {
    const paths = new Map();
    for (let vf = 0; vf < sizes[pf]; vf++) {
      const row = first[pf] + vf;
      const state = text("state", row);
      const name = matches[row] ? state : `${state} pale`;
      const shape = shapes[state](vf % PER_LINE * CELL, Math.floor(vf / PER_LINE) * CELL);
      paths.set(name, (paths.get(name) ?? "") + shape);
    }
    strips.get(pf).firstChild.replaceChildren(
      ...Array.from(paths, ([name, d]) => svg("path", {class: name, d})));
  }

  function draw() {
    const turn = ++drawing;
    const waiting = [...strips.keys()];
    (function some() {
      if (turn !== drawing) return;
      waiting.splice(0, DRAWN_AT_ONCE).forEach(drawPf);
      if (waiting.length) setTimeout(some);
      else if (!document.documentElement.dataset.ready) {
        document.documentElement.dataset.ready = "true";
        performance.mark("complete");
      }
    })();
  }

  function strip(pf) {
    const size = sizes[pf];
    const made = element("div", {className: "strip"});
    made.append(svg("svg", {
      width: Math.min(size, PER_LINE) * CELL,
      height: Math.ceil(size / PER_LINE) * CELL,
      "aria-hidden": "true",
    }));
    made.dataset.pf = pf;
    strips.set(pf, made);
    return made;
  }

  function label(className, value) {
    return element("span", {className, textContent: value, title: value});
  }

  function pfRow(pf, host) {
    const own = key => strings[pfs[key][pf]];
    const size = sizes[pf];
    let free = 0;
    for (let row = first[pf]; row < first[pf] + size; row++) free += text("state", row) === "free";
    const note = own("asked") ? `as of ${own("asked")}` : own("error") ? "no answer" : own("pf_note") || (size ? "" : `no VFs, ${own("declared")} in the model`);
    const port = own("port") ? ` → ${own("port")}` : "";
    const made = element("div", {className: "pf"},
      host ? label("host", own("host")) : element("span"),
      label("name", own("pf") + port),
      size ? strip(pf) : label("note", note),
      element("span", {className: "use", textContent: size ? `${free}/${size}` : "", title: `${free} of ${size} VFs are free`}));
    if (size && note) made.append(label("note", note));
    return made;
  }

  // How many characters a column of labels is wide.
  const longest = (some, key) =>
    Math.min(16, some.reduce((most, pf) => Math.max(most, strings[pfs[key][pf]].length), 4));

  function map() {
    const leafs = new Map();
    for (const pf of sizes.keys()) {
      const leaf = strings[pfs.leaf[pf]];
      if (!leafs.has(leaf)) leafs.set(leaf, []);
      leafs.get(leaf).push(pf);
    }
    const names = [...leafs.keys()].sort((a, b) => !a - !b || natural.compare(a, b));
    byId("map").lastElementChild.append(...names.map(name => {
      const here = leafs.get(name);
      const most = here.reduce((most, pf) => Math.max(most, sizes[pf]), 8);
      const list = element("div", {className: "pfs"});
      const [host, label] = [longest(here, "host"), longest(here, "pf") + longest(here, "port") + 3];
      for (const [property, value] of [["wide", Math.min(most, PER_LINE)], ["host", `${host}ch`],
        ["name", `${label}ch`], ["labels", `${host + label}ch`]])
        list.style.setProperty(`--${property}`, value);
      here.forEach((pf, index) => list.append(pfRow(pf, pfs.host[pf] !== pfs.host[here[index - 1]])));
      const hosts = new Set(here.map(pf => pfs.host[pf])).size;
      const vfs = here.reduce((sum, pf) => sum + sizes[pf], 0);
      const heading = element("h3", {}, findable("leaf", name) || "No leaf in the model",
        element("small", {textContent: `${counted(hosts, "host")} · ${counted(here.length, "PF")} · ${counted(vfs, "VF")}`}));
      return element("div", {className: "leaf"}, heading, list);
    }));
  }

  const card = byId("card");
  let pinned = false;
  let current = {pf: -1, vf: 0};
  const cursor = element("button", {type: "button", id: "cursor"});

  function describe(row) {
    return COLUMNS.map(({key, title}) => [key, title || "note", shown(key, row)]).filter(([, , value]) => value);
  }

  function show(pf, vf) {
    const row = first[pf] + vf;
    const list = element("dl");
    for (const [key, title, value] of describe(row))
      list.append(element("dt", {textContent: title}), element("dd", {},
        ...(key === "state" ? [glyph(text(key, row)), " "] : []), findable(key, value)));
    card.replaceChildren(list);
    card.className = text("state", row) + (pinned ? " pinned" : "");
    card.hidden = false;
    const box = strips.get(pf).getBoundingClientRect();
    const left = box.left + vf % PER_LINE * CELL;
    const top = box.top + Math.floor(vf / PER_LINE) * CELL;
    const below = top + 24 + card.offsetHeight < innerHeight;
    card.style.left = `${Math.max(8, Math.min(left, innerWidth - card.offsetWidth - 8))}px`;
    card.style.top = `${below ? top + 24 : Math.max(8, top - card.offsetHeight - 6)}px`;
  }

  function unpin() {
    pinned = false;
    card.hidden = true;
  }

  function pin() {
    const same = pinned && card.dataset.row === String(first[current.pf] + current.vf);
    if (same) return unpin();
    pinned = true;
    card.dataset.row = first[current.pf] + current.vf;
    show(current.pf, current.vf);
  }

  // The one element of the map that has the focus, on the cell that it stands for.
  function move(pf, vf) {
    current = {pf, vf: Math.max(0, Math.min(vf, sizes[pf] - 1))};
    const there = strips.get(pf);
    cursor.style.left = `${current.vf % PER_LINE * CELL - 2}px`;
    cursor.style.top = `${Math.floor(current.vf / PER_LINE) * CELL + 1}px`;
    cursor.ariaLabel = describe(first[pf] + current.vf).map(([, title, value]) => `${title} ${value}`).join(", ");
    if (cursor.parentNode !== there) there.append(cursor);
  }

  function focus(pf, vf) {
    move(pf, vf);
    cursor.focus();
    cursor.scrollIntoView({block: "nearest"});
    pinned = false;
    show(current.pf, current.vf);
  }

  function step(key) {
    const {pf, vf} = current;
    const order = [...strips.keys()];
    const at = order.indexOf(pf);
    const leaf = index => pfs.leaf[order[index]];
    const other = (index, vf) => order[index] === undefined || focus(order[index], vf);
    switch (key) {
      case "ArrowRight": return vf + 1 < sizes[pf] ? focus(pf, vf + 1) : other(at + 1, 0);
      case "ArrowLeft": return vf ? focus(pf, vf - 1) : other(at - 1, Infinity);
      case "ArrowDown": return vf + PER_LINE < sizes[pf] ? focus(pf, vf + PER_LINE) : other(at + 1, vf % PER_LINE);
      case "ArrowUp": return vf >= PER_LINE ? focus(pf, vf - PER_LINE) : other(at - 1, vf);
      case "Home": return focus(pf, 0);
      case "End": return focus(pf, sizes[pf] - 1);
      case "PageDown": return other(order.findIndex((_, index) => index > at && leaf(index) !== leaf(at)), 0);
      case "PageUp": {
        const before = order.findLastIndex((_, index) => index < at && leaf(index) !== leaf(at));
        return other(before < 0 ? 0 : order.findIndex((_, index) => leaf(index) === leaf(before)), 0);
      }
    }
    return false;
  }

  function cellAt(event) {
    const there = event.target.closest?.(".strip");
    if (!there) return null;
    const box = there.firstChild.getBoundingClientRect();
    const [x, y] = [Math.floor((event.clientX - box.left) / CELL), Math.floor((event.clientY - box.top) / CELL)];
    const [pf, vf] = [Number(there.dataset.pf), y * PER_LINE + x];
    return x >= 0 && y >= 0 && x < PER_LINE && vf < sizes[pf] ? {pf, vf} : null;
  }

  function listen() {
    const area = byId("map");
    area.addEventListener("pointermove", event => {
      const cell = pinned ? null : cellAt(event);
      if (cell) show(cell.pf, cell.vf);
      else if (!pinned) card.hidden = true;
    });
    area.addEventListener("pointerleave", () => pinned || (card.hidden = true));
    area.addEventListener("click", event => {
      if (event.target === cursor && event.detail === 0) return pin(); // Enter or Space
      const cell = cellAt(event);
      if (!cell) return;
      const kept = pinned;
      move(cell.pf, cell.vf);
      cursor.focus({preventScroll: true});
      pinned = kept;
      pin();
    });
    cursor.addEventListener("keydown", event => {
      if (event.altKey || event.ctrlKey || event.metaKey || step(event.key) === false) return;
      event.preventDefault();
    });
    cursor.addEventListener("focus", () => pinned || show(current.pf, current.vf));
    cursor.addEventListener("blur", () => pinned || (card.hidden = true));
    addEventListener("scroll", () => card.hidden || document.activeElement === cursor || unpin(), {passive: true});
    document.addEventListener("click", event => {
      const query = event.target.closest?.("[data-query]");
      if (query) return find(query.dataset.query);
      const state = event.target.closest?.("[data-state]");
      if (state) {
        state.ariaPressed = state.ariaPressed !== "true";
        apply();
      }
    });
    document.addEventListener("keydown", event => {
      if (event.key === "/" && !event.target.matches("input")) {
        event.preventDefault();
        byId("filter").focus();
      } else if (event.key === "Escape") {
        if (!card.hidden) unpin();
        else if (event.target === byId("filter")) find("");
      }
    });
    byId("filter").form.addEventListener("submit", event => event.preventDefault());
    byId("filter").addEventListener("input", apply);
    byId("previous").addEventListener("click", () => turn(-1));
    byId("next").addEventListener("click", () => turn(1));
  }

  function start() {
    byId("rows").tHead.append(element("tr", {}, ...COLUMNS.map(each =>
      each.title
        ? sortable(element("th", {textContent: each.title}), heading => sortBy(heading, each))
        : element("th"))));
    for (const heading of document.querySelectorAll("table.sums thead th:not([data-unsorted])"))
      sortable(heading, sortSums);
    map();
    if (strips.size) move(strips.keys().next().value, 0);
    listen();
    fill();
    byId("map").hidden = byId("vfs").hidden = false;
    draw();
  }

  // The head of the page is painted first.
  requestAnimationFrame(() => setTimeout(start));
}
