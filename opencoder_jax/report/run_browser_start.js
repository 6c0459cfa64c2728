// What a reader does to the page, and its first drawing.
const scrollTo = (id) => {
  element(id).scrollIntoView();
  element(id).focus({ preventScroll: true });
};

const drawControls = () => {
  element("filter").value = state.filter;
  element("along").value = state.along;
  element("smooth").value = state.smooth;
  element("smoothed").textContent = state.smooth ? `${state.smooth} %` : "none";
  element("log").checked = state.log;
  element("log-along").checked = state.logAlong;
};

const drawAll = () => {
  drawControls();
  drawChooser();
  drawTable();
  if (!details) return;
  drawMetricChoices();
  drawCharts();
  drawRun();
};

// Charts wait for a pause in typing; the table does not.
let waiting = 0;
const drawChartsSoon = () => {
  clearTimeout(waiting);
  waiting = setTimeout(drawCharts, 120);
};

const changed = (...draw) => {
  draw.forEach((one) => one());
  toAddress();
};

const select = (ids, on) => {
  ids.forEach((id) => (on ? state.selected.add(id) : state.selected.delete(id)));
  document.querySelectorAll("[data-tick]").forEach((tick) => { tick.checked = state.selected.has(tick.dataset.tick); });
  changed(...(/\bis:selected\b/.test(state.filter) ? [filter] : []), drawChartsSoon);
};

element("filter").addEventListener("input", (event) => {
  state.filter = event.target.value;
  changed(filter, drawChartsSoon);
});
element("more").addEventListener("click", () => {
  limit += ROWS;
  filter();
});
element("select-shown").addEventListener("click", () => select(visible.map((run) => runs[run].id), true));
element("clear").addEventListener("click", () => select([...state.selected], false));
element("all-fields").addEventListener("change", drawChooser);
element("fields").addEventListener("change", (event) => {
  const name = event.target.dataset.column;
  const wanted = new Set(state.columns);
  if (event.target.checked) wanted.add(name);
  else wanted.delete(name);
  // In the order of the fields, whatever was ticked first.
  state.columns = fields.map((field) => field.name).filter((column) => wanted.has(column));
  changed(drawTable);
});
element("table").addEventListener("change", (event) => {
  if (event.target.dataset.tick) select([event.target.dataset.tick], event.target.checked);
});
element("table").addEventListener("click", (event) => {
  const name = event.target.closest("[data-sort]")?.dataset.sort;
  if (!name) return;
  // Up, down, and as it was.
  if (state.sort !== name) [state.sort, state.descending] = [name, false];
  else if (!state.descending) state.descending = true;
  else [state.sort, state.descending] = ["", false];
  changed(markSorted, order, drawChartsSoon);
});
document.addEventListener("click", (event) => {
  const id = event.target.closest("[data-open]")?.dataset.open;
  if (!id || !details) return;
  state.open = id;
  changed(drawRun);
  scrollTo("run");
});
document.querySelector("nav").addEventListener("click", (event) => {
  const to = event.target.closest("a")?.dataset.to;
  if (!to) return;
  event.preventDefault();
  scrollTo(to);
});

element("metric-choices").addEventListener("change", (event) => {
  const chosen = new Set(shownMetrics());
  if (event.target.checked) chosen.add(event.target.dataset.metric);
  else chosen.delete(event.target.dataset.metric);
  state.metrics = chosen;
  changed(drawCharts);
});
element("along").addEventListener("change", (event) => {
  state.along = event.target.value;
  changed(drawCharts);
});
element("smooth").addEventListener("input", (event) => {
  state.smooth = Number(event.target.value);
  changed(drawControls, drawChartsSoon);
});
for (const [id, name] of [["log", "log"], ["log-along", "logAlong"]]) {
  element(id).addEventListener("change", (event) => {
    state[name] = event.target.checked;
    changed(drawCharts);
  });
}
for (const kind of ["pointerover", "focusin"]) {
  element("legend").addEventListener(kind, (event) => fade(event.target.closest("[data-open]")?.dataset.open));
}
for (const kind of ["pointerleave", "focusout"]) element("legend").addEventListener(kind, () => fade(null));

element("beside").addEventListener("change", (event) => {
  state.beside = event.target.value || null;
  changed(drawRun);
});
element("differing").addEventListener("change", drawRun);
element("close").addEventListener("click", () => {
  const id = state.open;
  [state.open, state.beside] = [null, null];
  changed(drawRun);
  element("runs").scrollIntoView();
  const opener = element("table").querySelector(`[data-open="${CSS.escape(id)}"]`);
  opener?.focus({ preventScroll: true });
});

addEventListener("hashchange", () => {
  fromAddress();
  drawAll();
});
// A picture's numbers are drawn for its width.
let known = 0;
new ResizeObserver(() => {
  if (element("charts").clientWidth === known) return;
  known = element("charts").clientWidth;
  element("charts").querySelectorAll("figure").forEach((figure) => figure.draw?.());
}).observe(element("charts"));

fromAddress();
drawAll();
if (typeof DecompressionStream === "undefined") {
  element("drawn").textContent = "Curves and configurations need a newer browser (one with DecompressionStream).";
} else {
  inflated("details").then((value) => {
    details = value;
    drawMetricChoices();
    drawCharts();
    drawRun();
    if (state.open) scrollTo("run");
    document.documentElement.dataset.ready = "yes";
  });
}
