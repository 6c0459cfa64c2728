// Filters, sorts and histograms of the cleaning report. Text goes in as text nodes only:
// names of languages and signals come from data.
(() => {
  const { edges, tables } = JSON.parse(document.getElementById("histogram-data").textContent);
  const SVG = "http://www.w3.org/2000/svg";
  const WIDTH = 320, HEIGHT = 104, BASE = 84, TOP = 8;
  const format = new Intl.NumberFormat("en", { maximumSignificantDigits: 4 });
  const number = (value) => format.format(value).replaceAll(",", "\u202f");
  const whole = (value) => value.toLocaleString("en").replaceAll(",", "\u202f");

  // Rows of a list or table body that can be filtered by data-name.
  const rowsOf = (id) => [...document.querySelectorAll(`#${CSS.escape(id)} > [data-name]`)];

  function filter(id, wanted) {
    const rows = rowsOf(id);
    let shown = 0;
    for (const row of rows) {
      row.hidden = !row.dataset.name.includes(wanted.trim().toLowerCase());
      shown += !row.hidden;
    }
    const count = document.querySelector(`[data-counts="${id}"]`);
    if (count) count.textContent = shown === rows.length ? `${whole(shown)} in all` : `${whole(shown)} of ${whole(rows.length)}`;
  }

  for (const input of document.querySelectorAll("[data-filters]")) {
    input.addEventListener("input", () => filter(input.dataset.filters, input.value));
    filter(input.dataset.filters, input.value);
  }

  for (const select of document.querySelectorAll("[data-sorts]")) {
    const sort = () => {
      const key = select.value;
      const rows = rowsOf(select.dataset.sorts);
      const byName = (a, b) => a.dataset.name.localeCompare(b.dataset.name);
      const byCount = (a, b) => Number(b.dataset[key]) - Number(a.dataset[key]) || byName(a, b);
      rows.sort(key === "name" ? byName : byCount);
      document.getElementById(select.dataset.sorts).append(...rows);
    };
    select.addEventListener("change", sort);
  }

  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      if (!head.dataset.sort) return;
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const text = head.dataset.sort === "text";
        const first = text ? "ascending" : "descending";
        const order = head.getAttribute("aria-sort") === first ? (text ? "descending" : "ascending") : first;
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", order);
        const sign = order === "ascending" ? 1 : -1;
        const value = (row) => text ? row.cells[column].textContent : Number(row.cells[column].dataset.value);
        const rows = [...table.tBodies[0].rows].map((row) => [value(row), row]);
        rows.sort(([a], [b]) => sign * (text ? a.localeCompare(b) : a - b));
        table.tBodies[0].append(...rows.map(([, row]) => row));
      });
    });
  }

  function element(name, attributes, ...children) {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  }

  // Where a value stands, counted in bins.
  function place(kind, value) {
    if (kind === "truth") return value >= 0.5 ? 2 : 0;
    if (kind === "share") return value > 1 ? 51 : value * 50;
    return value < 0.1 ? Math.max(value, 0) * 10 : (Math.log10(value) + 1) * 10 + 1;
  }

  function binText(kind, bin) {
    const inner = edges[kind];
    if (kind === "truth") return bin ? "true" : "false";
    if (bin === inner.length) return `${number(inner[bin - 1])} and more`;
    return `${bin ? number(inner[bin - 1]) : 0} to ${number(inner[bin])}`;
  }

  // The ranges [from, to] in bins that a rule drops.
  function ranges(kind, rule) {
    const end = edges[kind].length + 1;
    return (rule ? rule.comparisons : []).map(([operator, bound]) => {
      if (kind === "truth") return bound ? [1, 2, "true"] : [0, 1, "false"];
      const at = place(kind, bound);
      if (operator.startsWith("<")) return [0, at, bound];
      if (operator.startsWith(">")) return [at, end, bound];
      return [Math.floor(at), Math.floor(at) + 1, bound];
    });
  }

  function draw(signal, histogram, rule) {
    const { kind, bins, undefined: missing } = histogram;
    const dropped = ranges(kind, rule);
    const bounds = dropped.flatMap(([from, to]) => [from, to]).filter((at) => at > 0 && at <= edges[kind].length);
    const places = [...bins.map(([bin]) => bin), ...bounds];
    let low = kind === "amount" ? Math.floor(Math.min(...places)) : 0;
    let high = kind === "truth" ? 2 : Math.ceil(Math.max(...bins.map(([bin]) => bin + 1), ...bounds.map((at) => at + 1)));
    if (kind === "share") high = Math.max(high, 10);
    if (!Number.isFinite(low) || !Number.isFinite(high)) [low, high] = [0, 1];
    high = Math.min(Math.max(high, low + 1), edges[kind].length + 1);
    const x = (at) => ((Math.min(Math.max(at, low), high) - low) / (high - low)) * WIDTH;
    const most = Math.max(1, ...bins.map(([, stay, gone]) => stay + gone));
    const documents = bins.reduce((sum, [, stay, gone]) => sum + stay + gone, 0);

    const picture = element("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img" });
    const told = rule ? `, dropped ${rule.text}: ${whole(rule.hits)} documents, ${whole(rule.sole)} of them by it alone` : ", no rule";
    picture.setAttribute("aria-label", `${signal} of ${whole(documents)} documents${told}`);
    for (const [from, to] of dropped) {
      if (x(to) > x(from)) picture.append(element("rect", { class: "range", x: x(from), y: TOP, width: x(to) - x(from), height: BASE - TOP }));
    }
    for (const [bin, stay, gone] of bins) {
      const height = Math.sqrt((stay + gone) / most) * (BASE - TOP);
      const ofStay = height * (stay / (stay + gone));
      const left = x(bin) + 0.4, width = Math.max(x(bin + 1) - x(bin) - 0.8, 0.6);
      const title = element("title", {}, `${binText(kind, bin)}: ${whole(stay)} stay, ${whole(gone)} dropped`);
      picture.append(element("g", {}, title,
        element("rect", { class: "stay", x: left, y: BASE - ofStay, width, height: ofStay }),
        element("rect", { class: "gone", x: left, y: BASE - height, width, height: height - ofStay })));
    }
    picture.append(element("line", { class: "axis", x1: 0, x2: WIDTH, y1: BASE, y2: BASE }));

    // Ends of the axis in grey, thresholds in red and in place of an end that they would cover.
    const marks = [];
    if (kind !== "truth") {
      for (const [from, to, bound] of dropped) {
        const at = from > 0 && Math.abs(place(kind, bound) - from) < 1e-9 ? from : to;
        picture.append(element("line", { class: "threshold", x1: x(at), x2: x(at), y1: TOP - 4, y2: BASE }));
        marks.push([x(at), number(bound)]);
      }
    }
    const label = (at, text, style, anchor) => picture.append(element("text", { x: at, y: HEIGHT - 7, class: style, "text-anchor": anchor }, text));
    const clear = (at) => marks.every(([mark]) => Math.abs(mark - at) > 46);
    if (kind === "truth") {
      label(WIDTH / 4, "false", "", "middle");
      label((3 * WIDTH) / 4, "true", "", "middle");
    } else {
      const edge = (at) => (at <= 0 ? 0 : edges[kind][Math.min(at, edges[kind].length) - 1]);
      if (clear(0)) label(0, number(edge(low)), "", "start");
      if (clear(WIDTH)) label(WIDTH, high > edges[kind].length ? `> ${number(edge(high))}` : number(edge(high)), "", "end");
    }
    for (const [at, text] of marks) label(at, text, "at", at < 24 ? "start" : at > WIDTH - 24 ? "end" : "middle");

    const figure = document.createElement("figure");
    figure.className = "histogram";
    const caption = document.createElement("figcaption");
    const name = document.createElement("code");
    name.textContent = signal;
    const facts = document.createElement("span");
    facts.className = "facts";
    const fact = (text, style) => {
      const span = document.createElement("span");
      span.textContent = text;
      if (style) span.className = style;
      facts.append(span);
    };
    if (rule) {
      fact(`dropped ${rule.text}`, "rule");
      fact(`${whole(rule.hits)} violate`);
      fact(`${whole(rule.sole)} alone`);
    } else fact("no rule");
    const without = missing[0] + missing[1];
    if (without) fact(`${whole(without)} undefined`);
    caption.append(name, facts);
    figure.append(caption, picture);
    return figure;
  }

  const choice = document.getElementById("table-choice");
  const wanted = document.getElementById("signal-filter");
  const ruledOnly = document.getElementById("ruled-only");

  function showTable() {
    const table = tables[choice.value];
    const shown = document.getElementById("histograms");
    if (!table) {
      shown.textContent = "No document was judged.";
      return;
    }
    const sole = (signal) => table.rules[signal]?.sole ?? -1;
    const hits = (signal) => table.rules[signal]?.hits ?? -1;
    const signals = Object.keys(table.signals)
      .filter((signal) => signal.includes(wanted.value.trim().toLowerCase()))
      .filter((signal) => !ruledOnly.checked || signal in table.rules)
      .sort((a, b) => sole(b) - sole(a) || hits(b) - hits(a) || a.localeCompare(b));
    shown.replaceChildren(...signals.map((signal) => draw(signal, table.signals[signal], table.rules[signal])));
    document.getElementById("signal-count").textContent =
      `${signals.length} signals, most documents dropped alone first; ${whole(table.kept)} of ${whole(table.documents)} documents stay`;
  }

  // The table that judged most documents is what a reader wants first.
  const names = Object.keys(tables);
  names.sort((a, b) => tables[b].documents - tables[a].documents);
  if (names.length) choice.value = names[0];
  for (const control of [choice, wanted, ruledOnly]) control.addEventListener("input", showTable);
  showTable();

  // A link into a closed row opens it.
  function openTarget() {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    target?.closest("details")?.setAttribute("open", "");
  }
  window.addEventListener("hashchange", openTarget);
  openTarget();
})();
