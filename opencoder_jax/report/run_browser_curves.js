// Curves of the ticked runs, one picture a metric. A strong line is a bucket's mean, a band goes
// from its lowest to its highest value; with smoothing a strong line is the mean of a window.
const SVG = "http://www.w3.org/2000/svg";
const FIRST_METRICS = ["loss", "heldout_loss", "learning_rate", "grad_norm", "tokens_per_second"];
const UNTICKED = 12;
const WITH_BANDS = 6;
const SERIES = 6;
const DASHES = ["", "6 3", "2 3", "9 3 2 3"];
const TOLD = 12;
const EDGE = { left: 58, right: 12, top: 10, bottom: 34 };
let details = null;

const svg = (name, attributes, ...children) => {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
};

const inflated = async (id) => {
  const bytes = Uint8Array.from(atob(element(id).textContent), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return JSON.parse(await new Response(stream).text());
};

const metricNames = () => {
  const names = new Set(FIRST_METRICS);
  details.runs.forEach((run) => run.curves.forEach((part) =>
    Object.keys(part.series).forEach((name) => names.add(name))));
  return [...names].filter((name) => details.runs.some((run) =>
    run.curves.some((part) => Object.hasOwn(part.series, name))));
};

const shownMetrics = () => {
  const names = metricNames();
  if (state.metrics) return names.filter((name) => state.metrics.has(name));
  return names.filter((name) => FIRST_METRICS.includes(name));
};

// The runs that are drawn, in the order of the table.
const drawnRuns = () => {
  const hasCurves = (run) => details.runs[run].curves.some((part) => Object.keys(part.series).length);
  if (!state.selected.size) return visible.filter(hasCurves).slice(0, UNTICKED);
  const lines = [...element("table").tBodies[0].rows];
  const places = new Map(rowElements.map((line, run) => [line, run]));
  return lines.map((line) => places.get(line)).filter((run) => state.selected.has(runs[run].id));
};

// Where a step lies between those that are known.
const between = (step, steps, values) => {
  let high = steps.findIndex((known) => known >= step);
  if (high < 0) high = steps.length - 1;
  const low = Math.max(high - 1, 0);
  const width = steps[high] - steps[low];
  return width > 0
    ? values[low] + ((step - steps[low]) / width) * (values[high] - values[low])
    : values[high];
};

const along = (run, part) => {
  const scale = state.along === "seconds" ? 3600 : 1;
  const own = part[state.along];
  if (own) return own.map((value) => value / scale);
  const train = run.curves[0];
  if (!train[state.along]?.length) return null;
  return part.step.map((step) => between(step, train.step, train[state.along]) / scale);
};

// [{x, y, low, high}] of one metric of one run.
const pointsOf = (run, name) => {
  const part = run.curves.find((one) => Object.hasOwn(one.series, name));
  const xs = part && along(run, part);
  if (!xs) return [];
  const series = part.series[name];
  const [means, lows, highs] = Array.isArray(series[0]) ? series : [series, null, null];
  const points = [];
  xs.forEach((x, place) => {
    if (means[place] === null) return;
    points.push({
      x, y: means[place], low: lows ? lows[place] : means[place], high: highs ? highs[place] : means[place],
    });
  });
  return points;
};

// Means of a window of `share` per cent of the curve, centred.
const smoothed = (points, share) => {
  if (!share || points.length < 3) return points;
  const half = ((points.at(-1).x - points[0].x) * share) / 200;
  let [first, last, sum] = [0, 0, 0];
  return points.map((point) => {
    while (last < points.length && points[last].x <= point.x + half) sum += points[last++].y;
    while (points[first].x < point.x - half) sum -= points[first++].y;
    return { ...point, y: sum / (last - first) };
  });
};

const scaled = (low, high, log, from, to) => {
  const place = log ? Math.log10 : (value) => value;
  const [a, b] = [place(low), place(high)];
  return (value) => from + ((place(value) - a) / (b - a || 1)) * (to - from);
};

const ticksOf = (low, high, log, count) => {
  if (log && high / low >= 30) {
    const decades = [];
    for (let power = Math.ceil(Math.log10(low)); power <= Math.floor(Math.log10(high)); power += 1) decades.push(10 ** power);
    const every = Math.ceil(decades.length / count);
    return decades.filter((_, place) => place % every === 0);
  }
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough * 0.999);
  const ticks = [];
  for (let at = Math.ceil(low / step); at * step <= high * (1 + 1e-12); at += 1) ticks.push(at * step);
  return ticks;
};

const tickText = (value) => {
  const size = Math.abs(value);
  if (size >= 1e4) {
    const [limit, letter] = [[1e12, "T"], [1e9, "B"], [1e6, "M"], [1e3, "k"]].find(([l]) => size >= l);
    return `${Number((value / limit).toPrecision(3))}${letter}`;
  }
  if (size && size < 1e-3) return value.toExponential(1).replace(".0e", "e");
  return String(Number(value.toPrecision(4)));
};

const tone = (place) => `var(--series-${(place % SERIES) + 1})`;
const dash = (place) => DASHES[Math.floor(place / SERIES) % DASHES.length];

const ends = (values, log) => {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) {
    if (log && value <= 0) continue;
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  if (low > high) return null;
  if (low === high) return log ? [low / 2, high * 2] : [low - (Math.abs(low) / 10 || 1), high + (Math.abs(high) / 10 || 1)];
  return [low, high];
};

const pathOf = (points, x, y, value) => points
  .map((point, place) => `${place ? "L" : "M"}${x(point.x).toFixed(1)} ${y(value(point)).toFixed(1)}`).join("");

const ALONG = { step: "step", tokens: "tokens", seconds: "hours" };

// One picture; `lines`: [{run, place, points}].
const chart = (name, lines) => {
  const figure = make("figure");
  figure.dataset.metric = name;
  figure.append(make("figcaption", "", name));
  const picture = svg("svg", { class: "chart", tabindex: "0", role: "img", "aria-label": `${name}, ${lines.length} lines; arrow keys read values` });
  const told = make("div", "told");
  told.hidden = true;
  told.setAttribute("aria-live", "polite");
  figure.append(picture, told);
  const few = lines.length <= WITH_BANDS;
  const kept = lines.map((line) => {
    const fits = line.points.filter((p) => (!state.log || p.y > 0) && (!state.logAlong || p.x > 0));
    return { ...line, raw: fits, points: smoothed(fits, state.smooth) };
  }).filter((line) => line.points.length);
  const all = kept.flatMap((line) => line.points);
  const range = ends(all.map((p) => p.x), state.logAlong);
  const banded = few && !state.smooth;
  const shownValues = kept.flatMap((line) => [
    ...line.points.flatMap((p) => (banded ? [p.low, p.high] : [p.y])),
    ...(few && state.smooth ? line.raw.map((p) => p.y) : []),
  ]);
  const heights = ends(shownValues, state.log);
  if (!range || !heights) {
    picture.remove();
    figure.append(make("p", "quiet", state.log ? "no positive value" : `no values along ${ALONG[state.along]}`));
    return figure;
  }
  const draw = () => {
    const width = Math.max(picture.clientWidth, 200);
    const height = Math.max(picture.clientHeight, 120);
    picture.setAttribute("viewBox", `0 0 ${width} ${height}`);
    const x = scaled(...range, state.logAlong, EDGE.left, width - EDGE.right);
    const y = scaled(...heights, state.log, height - EDGE.bottom, EDGE.top);
    const floor = height - EDGE.bottom;
    const parts = [];
    for (const value of ticksOf(...heights, state.log, 5)) {
      parts.push(svg("line", { class: "grid", x1: EDGE.left, x2: width - EDGE.right, y1: y(value), y2: y(value) }));
      parts.push(svg("text", { x: EDGE.left - 6, y: y(value) + 4, "text-anchor": "end" }, tickText(value)));
    }
    for (const value of ticksOf(...range, state.logAlong, Math.max(2, Math.floor(width / 110)))) {
      const anchor = x(value) > width - 30 ? "end" : "middle";
      parts.push(svg("text", { x: Math.min(x(value), width - 2), y: floor + 15, "text-anchor": anchor }, tickText(value)));
    }
    parts.push(svg("text", { x: width - EDGE.right, y: floor + 29, "text-anchor": "end" }, ALONG[state.along]));
    parts.push(svg("line", { class: "axis", x1: EDGE.left, x2: width - EDGE.right, y1: floor, y2: floor }));
    for (const { run, place, points, raw } of kept) {
      const mark = { "data-run": runs[run].id, style: `--tone: ${tone(place)}` };
      if (banded && points.some((p) => p.high > p.low)) {
        const inside = (value) => Math.min(Math.max(value, heights[0]), heights[1]);
        const over = pathOf(points, x, y, (p) => inside(p.high));
        const under = pathOf([...points].reverse(), x, y, (p) => inside(p.low)).replace("M", "L");
        parts.push(svg("path", { ...mark, class: "band", d: `${over}${under}Z` }));
      }
      if (few && state.smooth) parts.push(svg("path", { ...mark, class: "line pale", d: pathOf(raw, x, y, (p) => p.y) }));
      parts.push(svg("path", { ...mark, class: "line", "stroke-dasharray": dash(place), d: pathOf(points, x, y, (p) => p.y) }));
      if (points.length === 1) {
        parts.push(svg("circle", { ...mark, cx: x(points[0].x), cy: y(points[0].y), r: 3, fill: "var(--tone)" }));
      }
    }
    const cursor = svg("line", { class: "cursor", y1: EDGE.top, y2: floor, visibility: "hidden" });
    picture.replaceChildren(...parts, cursor);
    picture.reader = { x, cursor, width };
  };
  const nearest = (points, at) => points.reduce((best, p) => (Math.abs(p.x - at) < Math.abs(best.x - at) ? p : best));
  const tell = (at) => {
    const { x, cursor, width } = picture.reader;
    const found = kept.map((line) => ({ ...line, point: nearest(line.points, at) }));
    found.sort((a, b) => b.point.y - a.point.y);
    const head = make("p", "at", `${ALONG[state.along]} ${number(Number(at.toPrecision(6)))}`);
    const rest = found.length - TOLD;
    told.replaceChildren(head, ...found.slice(0, TOLD).map(({ run, place, points, point }) => {
      const spread = point.high > point.low && !state.smooth ? ` (${number(point.low)} to ${number(point.high)})` : "";
      // A line that has ended, or not begun, has no value here.
      const elsewhere = at < points[0].x || at > points.at(-1).x
        ? ` at ${number(Number(point.x.toPrecision(6)))}` : "";
      const value = number(Number(point.y.toPrecision(5))) + spread + elsewhere;
      return make("p", "", swatch(place), make("span", "", runs[run].title), make("b", "", value));
    }), ...(rest > 0 ? [make("p", "at", `and ${rest} more`)] : []));
    told.hidden = false;
    const right = x(at) < width / 2;
    told.style.left = right ? "auto" : "4rem";
    told.style.right = right ? "1rem" : "auto";
    cursor.setAttribute("x1", x(at));
    cursor.setAttribute("x2", x(at));
    cursor.setAttribute("visibility", "visible");
    picture.dataset.at = at;
  };
  const hide = () => {
    told.hidden = true;
    picture.reader?.cursor.setAttribute("visibility", "hidden");
    delete picture.dataset.at;
  };
  // What can be read: the points of the line that has most.
  const stops = kept.reduce((most, line) => (line.points.length > most.length ? line.points : most), []);
  picture.addEventListener("pointermove", (event) => {
    const left = event.clientX - picture.getBoundingClientRect().left;
    const near = all.reduce((best, p) =>
      (Math.abs(picture.reader.x(p.x) - left) < Math.abs(picture.reader.x(best.x) - left) ? p : best));
    tell(near.x);
  });
  picture.addEventListener("pointerleave", hide);
  picture.addEventListener("blur", hide);
  picture.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10, Home: -Infinity, End: Infinity }[event.key];
    if (!by || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    const now = picture.dataset.at === undefined
      ? (by > 0 ? -1 : stops.length) : stops.indexOf(nearest(stops, Number(picture.dataset.at)));
    tell(stops[Math.min(Math.max(now + by, 0), stops.length - 1)].x);
  });
  figure.draw = draw;
  return figure;
};

const swatch = (place) => {
  const line = svg("line", { x1: 0, x2: 28, y1: 5, y2: 5, "stroke-dasharray": dash(place), style: `--tone: ${tone(place)}` });
  return svg("svg", { class: "swatch", viewBox: "0 0 28 10", "aria-hidden": "true" }, line);
};

const drawCharts = () => {
  if (!details) return;
  const drawn = drawnRuns();
  const metrics = shownMetrics();
  element("drawn").textContent = state.selected.size
    ? `Of the ${drawn.length === 1 ? "run" : `${drawn.length} runs`} ticked in the table.`
    : `Nothing is ticked in the table: the first ${drawn.length} shown there that have curves.`;
  element("legend").replaceChildren(...drawn.map((run, place) => {
    const entry = make("button", "", swatch(place), runs[run].title);
    entry.type = "button";
    entry.dataset.open = runs[run].id;
    return entry;
  }));
  const pictures = metrics.map((name) => chart(name, drawn
    .map((run, place) => ({ run, place, points: pointsOf(details.runs[run], name) }))
    .filter((line) => line.points.length)));
  element("charts").replaceChildren(...pictures);
  pictures.forEach((picture) => picture.draw?.());
};

const drawMetricChoices = () => {
  const chosen = new Set(shownMetrics());
  element("metric-choices").replaceChildren(...metricNames().map((name) => {
    const tick = make("input");
    tick.type = "checkbox";
    tick.checked = chosen.has(name);
    tick.dataset.metric = name;
    return make("label", "", tick, name);
  }));
};

// Pointing at a name in the legend lets the other lines fade.
const fade = (id) => {
  element("charts").querySelectorAll("[data-run]").forEach((line) =>
    line.classList.toggle("faded", Boolean(id) && line.dataset.run !== id));
};
