// The table of runs: what is filtered, sorted, ticked and shown, and the address that says so.
const { fields, shown: firstShown, runs } = JSON.parse(document.getElementById("rows").textContent);
const element = (id) => document.getElementById(id);
const make = (tag, className, ...children) => {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...children);
  return made;
};

const state = {
  filter: "",
  sort: "",
  descending: false,
  columns: [...firstShown],
  selected: new Set(),
  metrics: null,
  along: "step",
  smooth: 0,
  log: false,
  logAlong: false,
  open: null,
  beside: null,
};
const byId = new Map(runs.map((run, number) => [run.id, number]));
const placeOf = new Map(fields.map((field, place) => [field.name, place]));

// A number as a reader wants it: five digits, thin spaces between thousands.
const digits = new Intl.NumberFormat("en", { maximumSignificantDigits: 5 });
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const number = (value) => {
  const size = Math.abs(value);
  if (size && (size < 1e-3 || size >= 1e15)) return value.toExponential(3).replace(/\.?0+e/, "e");
  return (Number.isInteger(value) ? whole : digits).format(value).replaceAll(",", "\u202f");
};
const several = (value) => (Array.isArray(value) ? value : value === null ? [] : [value]);
const written = (value) => several(value)
  .map((part) => (typeof part === "number" ? number(part) : String(part))).join(", ");

// What free words are looked for in.
const haystacks = runs.map((run) => [
  run.title, run.state, ...run.problems, ...run.values.flatMap(several),
].join("\n").toLowerCase());

const TERM = /(?:"[^"]*"?|[^\s"])+/g;
// A name begins with a letter; in quotes it may have any character, as languages have.
const CONDITION = /^(?=[A-Za-z_"])((?:"[^"]*"|[^\s"<>=!:~])+)(<=|>=|!=|<|>|=|:|~)(.*)$/s;
const SIZES = { k: 1e3, m: 1e6, b: 1e9, t: 1e12 };

const asNumber = (text) => {
  const parts = /^([+-]?[\d.]+(?:e[+-]?\d+)?)([kmbt]?)$/i.exec(text);
  const value = parts ? Number(parts[1]) * (SIZES[parts[2].toLowerCase()] || 1) : NaN;
  return Number.isFinite(value) ? value : null;
};

// Columns that a name stands for: its own, or those of which it is the last part.
const places = (name) => {
  const wanted = name.toLowerCase();
  const names = fields.map((field) => field.name.toLowerCase());
  const exact = names.indexOf(wanted);
  if (exact >= 0) return [exact];
  return names.flatMap((full, place) =>
    (full.endsWith(`.${wanted}`) || full.endsWith(`/${wanted}`) ? [place] : []));
};

const equals = (value, text) => {
  const wanted = asNumber(text);
  if (typeof value === "number" && wanted !== null) return value === wanted;
  const pattern = text.toLowerCase().split("*");
  const own = String(value).toLowerCase();
  if (pattern.length === 1) return own === pattern[0];
  const escaped = pattern.map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
  return new RegExp(`^${escaped.join(".*")}$`, "s").test(own);
};

// A condition as a function of a run's number, or what is wrong with it as text.
const condition = (name, sign, text) => {
  if (name === "is") {
    const meanings = {
      selected: (run) => state.selected.has(runs[run].id),
      damaged: (run) => runs[run].problems.length > 0,
    };
    return meanings[text] || `is:${text}: expected is:selected or is:damaged`;
  }
  const found = name.toLowerCase() === "run" ? [-1] : places(name);
  if (!found.length) return `no column is called ${name}`;
  const values = (run) =>
    found.flatMap((place) => several(place < 0 ? runs[run].title : runs[run].values[place]));
  if (sign === ":" || sign === "=") return (run) => values(run).some((v) => equals(v, text));
  if (sign === "!=") return (run) => !values(run).some((v) => equals(v, text));
  if (sign === "~") {
    const part = text.toLowerCase();
    return (run) => values(run).some((v) => String(v).toLowerCase().includes(part));
  }
  const limit = asNumber(text);
  if (limit === null) return `${name}${sign}${text}: expected a number after ${sign}`;
  const compare = {
    "<": (v) => v < limit, ">": (v) => v > limit, "<=": (v) => v <= limit, ">=": (v) => v >= limit,
  }[sign];
  return (run) => values(run).some((v) => typeof v === "number" && compare(v));
};

// The filter's text as [tests, what is wrong]; a condition that is wrong holds back nothing.
const parsed = (text) => {
  const tests = [];
  const wrong = [];
  for (const term of text.match(TERM) || []) {
    const not = term.length > 1 && term.startsWith("-");
    const own = not ? term.slice(1) : term;
    const bare = (part) => part.replaceAll('"', "");
    const parts = CONDITION.exec(own)?.slice(1).map(bare);
    const test = parts
      ? condition(...parts)
      : (run) => haystacks[run].includes(bare(own).toLowerCase());
    if (typeof test === "string") wrong.push(test);
    else tests.push(not ? (run) => !test(run) : test);
  }
  return [tests, wrong];
};

const valueOf = (run, name) => (name === "run" ? runs[run].title : runs[run].values[placeOf.get(name)]);

// Numbers before text, what is missing last in either direction.
const compared = (name, descending) => (a, b) => {
  const [x, y] = [several(valueOf(a, name))[0], several(valueOf(b, name))[0]];
  if (x === undefined || y === undefined) return (x === undefined) - (y === undefined) || a - b;
  const kinds = (typeof x === "string") - (typeof y === "string");
  const order = kinds || (typeof x === "string" ? x.localeCompare(y, "en", { numeric: true }) : x - y);
  return (descending ? -order : order) || a - b;
};

// More rows than these take a browser's layout too long while somebody types.
const ROWS = 300;
let limit = ROWS;
let visible = runs.map((_, run) => run);
const rowElements = [];

const drawTable = () => {
  const head = make("tr");
  head.append(make("th", "", Object.assign(make("span", "quiet"), { textContent: "✓", title: "ticked runs are drawn" })));
  for (const name of ["run", ...state.columns]) {
    const place = placeOf.get(name);
    const cell = make("th", place !== undefined && fields[place].number ? "number" : "");
    cell.scope = "col";
    const button = make("button", "", name);
    button.type = "button";
    button.dataset.sort = name;
    cell.append(button);
    head.append(cell);
  }
  const table = element("table");
  table.tHead.replaceChildren(head);
  markSorted();
  runs.forEach((run, row) => {
    const line = make("tr");
    const tick = make("input");
    tick.type = "checkbox";
    tick.checked = state.selected.has(run.id);
    tick.dataset.tick = run.id;
    tick.setAttribute("aria-label", `select ${run.title}`);
    const open = make("button", "", run.title);
    open.type = "button";
    open.dataset.open = run.id;
    open.title = run.title;
    const name = make("th", "");
    name.scope = "row";
    if (run.problems.length) {
      const flag = make("span", "flag", "!");
      flag.title = run.problems.join("\n");
      flag.setAttribute("role", "img");
      flag.setAttribute("aria-label", `something is wrong: ${run.problems[0]}`);
      name.append(flag);
    }
    name.append(open);
    line.append(make("td", "", tick), name);
    for (const column of state.columns) {
      const place = placeOf.get(column);
      const text = written(run.values[place]);
      const cell = make("td", fields[place].number ? "number" : "", text || "–");
      if (!text) cell.classList.add("quiet");
      if (text.length > 24) cell.title = text;
      line.append(cell);
    }
    line.classList.toggle("opened", run.id === state.open);
    rowElements[row] = line;
  });
  order();
};

const markSorted = () => {
  for (const cell of element("table").tHead.rows[0]?.cells || []) {
    const name = cell.querySelector("button")?.dataset.sort;
    if (name && name === state.sort) cell.setAttribute("aria-sort", state.descending ? "descending" : "ascending");
    else cell.removeAttribute("aria-sort");
  }
};

const order = () => {
  const all = runs.map((_, run) => run);
  if (state.sort) all.sort(compared(state.sort, state.descending));
  element("table").tBodies[0].replaceChildren(...all.map((run) => rowElements[run]));
  visible = all;
  filter();
};

// Which runs the filter leaves, in the order of the table; the first `limit` have rows.
const filter = () => {
  const [tests, wrong] = parsed(state.filter);
  element("filter-wrong").textContent = wrong.join("; ");
  const order = [...element("table").tBodies[0].rows];
  const places = new Map(rowElements.map((line, run) => [line, run]));
  visible = order.map((line) => places.get(line)).filter((run) => tests.every((test) => test(run)));
  const kept = new Set(visible.slice(0, limit));
  rowElements.forEach((line, run) => { line.hidden = !kept.has(run); });
  const left = visible.length - kept.size;
  element("more").hidden = !left;
  element("more").textContent = `Show ${number(Math.min(left, ROWS))} more of ${number(left)}`;
  element("shown").textContent = visible.length === runs.length
    ? `${runs.length} runs` : `${visible.length} of ${runs.length} runs`;
};

const GROUPS = {
  run: "Run", sweep: "Sweep", figure: "What came out", result: "Evaluations", setting: "Settings",
  input: "Data and inputs",
};

const drawChooser = () => {
  const all = element("all-fields").checked;
  const parts = [];
  for (const [group, title] of Object.entries(GROUPS)) {
    const listed = fields.filter((field) => field.group === group
      && (all || field.differs || runs.length === 1 || state.columns.includes(field.name)));
    if (!listed.length) continue;
    const ticks = make("div", "ticks");
    for (const field of listed) {
      const tick = make("input");
      tick.type = "checkbox";
      tick.checked = state.columns.includes(field.name);
      tick.dataset.column = field.name;
      ticks.append(make("label", "", tick, field.name));
    }
    parts.push(make("p", "label", title), ticks);
  }
  element("fields").replaceChildren(...parts);
};

// The address: what differs from the page as it opens.
const toAddress = () => {
  const parts = new URLSearchParams();
  if (state.filter) parts.set("q", state.filter);
  if (state.sort) parts.set("sort", (state.descending ? "-" : "") + state.sort);
  if (state.columns.join() !== firstShown.join()) parts.set("columns", JSON.stringify(state.columns));
  if (state.selected.size) parts.set("runs", [...state.selected].join(" "));
  if (state.metrics) parts.set("curves", JSON.stringify([...state.metrics]));
  if (state.along !== "step") parts.set("along", state.along);
  if (state.smooth) parts.set("smooth", state.smooth);
  if (state.log) parts.set("log", "1");
  if (state.logAlong) parts.set("logalong", "1");
  if (state.open) parts.set("run", state.open);
  if (state.open && state.beside) parts.set("beside", state.beside);
  const text = parts.toString();
  if (text !== location.hash.slice(1)) history.replaceState(null, "", `#${text}`);
};

const fromAddress = () => {
  const parts = new URLSearchParams(location.hash.slice(1));
  const list = (name) => {
    try {
      const value = JSON.parse(parts.get(name));
      return Array.isArray(value) ? value : null;
    } catch {
      return null;
    }
  };
  const known = (id) => (byId.has(id) ? id : null);
  const sort = parts.get("sort") || "";
  const name = sort.replace(/^-/, "");
  state.filter = parts.get("q") || "";
  state.descending = sort.startsWith("-");
  state.sort = name === "run" || placeOf.has(name) ? name : "";
  state.columns = (list("columns") || firstShown).filter((column) => placeOf.has(column));
  state.selected = new Set((parts.get("runs") || "").split(" ").filter(known));
  const metrics = list("curves");
  state.metrics = metrics && new Set(metrics);
  state.along = ["tokens", "seconds"].includes(parts.get("along")) ? parts.get("along") : "step";
  state.smooth = Math.min(Math.max(Number(parts.get("smooth")) || 0, 0), 20);
  state.log = parts.get("log") === "1";
  state.logAlong = parts.get("logalong") === "1";
  state.open = known(parts.get("run"));
  state.beside = known(parts.get("beside"));
};
