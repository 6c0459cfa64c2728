// One run opened, alone or beside another: what it is made of, its settings, answers and files.
const block = (text, marks) => {
  const made = make("pre");
  made.tabIndex = 0;
  text.split("\n").forEach((line, place) => made.append(make("span", marks?.[place] ? "line differs" : "line", line)));
  return made;
};

const heading = (text, note) => [make("h3", "", text), ...(note ? [make("p", "lead", note)] : [])];

const opener = (run) => {
  const button = make("button", "inline", runs[run].title);
  button.type = "button";
  button.dataset.open = runs[run].id;
  return button;
};

// From the first phase to this one.
const chainOf = (run) => {
  const chain = make("p", "chain");
  const parts = [];
  const seen = new Set();
  for (let at = run; ;) {
    seen.add(at);
    const { parent, initial } = details.runs[at];
    if (!parent) {
      parts.unshift(initial ? `${initial} (not on this page) →` : "new parameters →");
      break;
    }
    parts.unshift(`, step ${number(parent[1])} →`);
    if (seen.has(parent[0])) break;
    parts.unshift(opener(parent[0]));
    at = parent[0];
  }
  chain.append(...parts, make("b", "", runs[run].title));
  const next = details.runs.flatMap((other, place) => (other.parent?.[0] === run ? [place] : []));
  if (next.length) chain.append("→ ", ...next.map(opener));
  return chain;
};

const table = (headings, rows) => {
  const made = make("table", "flat");
  const head = make("tr");
  headings.forEach((text) => head.append(Object.assign(make("th", "", text), { scope: "col" })));
  made.createTHead().append(head);
  const body = made.createTBody();
  for (const { name, cells, differs } of rows) {
    const line = make("tr", differs ? "differs" : "", Object.assign(make("th", "", name), { scope: "row" }));
    cells.forEach((text) => line.append(make("td", text ? "" : "quiet", text || "–")));
    body.append(line);
  }
  return made;
};

const only = (rows) => (element("differing").checked && state.beside ? rows.filter((row) => row.differs) : rows);

// A row of values and their texts; what differs past the digits of its text is written in full.
const rowOf = (name, values, texts) => {
  const alike = texts[0] === texts[1];
  const differs = values.length > 1 && (!alike || JSON.stringify(values[0]) !== JSON.stringify(values[1]));
  return { name, cells: differs && alike ? values.map((value) => several(value).join(", ")) : texts, differs };
};

const fieldTables = (shown) => {
  const parts = [];
  for (const [group, title] of [["sweep", "Sweep"], ["figure", "What came out"], ["setting", "Settings"], ["input", "Data and inputs"]]) {
    const rows = fields.flatMap((field, place) => {
      if (field.group !== group) return [];
      const values = shown.map((run) => runs[run].values[place]);
      const row = rowOf(field.name, values, values.map(written));
      return row.cells.some(Boolean) ? [row] : [];
    });
    const kept = only(rows);
    if (!rows.length) continue;
    const note = shown.length > 1 ? `${rows.filter((row) => row.differs).length} of ${rows.length} differ` : "";
    parts.push(...heading(title, note));
    if (kept.length) parts.push(table([title, ...shown.map((run) => runs[run].title)], kept));
  }
  return parts;
};

const rate = (result, name) => {
  const value = result?.figures[name];
  if (value === undefined) return "";
  const ends = result.intervals[name];
  const text = (v) => String(Number(v.toPrecision(4)));
  return ends ? `${text(value)} (${text(ends[0])} to ${text(ends[1])})` : text(value);
};

const evaluationTables = (shown) => {
  const found = shown.map((run) => details.runs[run].results);
  const tasks = new Set(found.flat().map((result) => result.task));
  const rows = [...tasks].flatMap((task) => {
    const results = found.map((all) => all.find((result) => result.task === task));
    const names = new Set(results.flatMap((result) => Object.keys(result?.figures || {})));
    const steps = results.map((result) => (result && result.step !== null ? number(result.step) : ""));
    return [
      ...(names.size && steps.some(Boolean) ? [rowOf(`${task}: step`, steps, steps)] : []),
      ...[...names].map((name) => rowOf(
        name,
        results.map((result) => result?.figures[name] ?? null),
        results.map((result) => rate(result, name)),
      )),
    ];
  });
  if (!rows.length) return [];
  const kept = only(rows);
  return [
    ...heading("Evaluations", "Rates with their 95 % interval over the problems."),
    ...(kept.length ? [table(["Measure", ...shown.map((run) => runs[run].title)], kept)] : []),
  ];
};

const answerBlock = (answer, title, marks) => {
  const [, , completion, verdict, reason] = answer.map((text) => details.texts[text]);
  const box = make("div");
  if (title) box.append(make("h4", "", title));
  if (verdict) {
    const kind = { passed: "passed", skipped: "quiet" }[verdict] || "other";
    box.append(make("p", `label verdict ${kind}`, [verdict, reason].filter(Boolean).join(": ")));
  }
  box.append(block(completion, marks));
  return box;
};

const answers = (shown) => {
  const parts = [];
  const [own, other] = shown.map((run) => details.runs[run].results);
  for (const result of own) {
    if (!result.answers.length) continue;
    const cut = result.answers.length < result.count
      ? `${result.answers.length} of ${number(result.count)} answers: the first ones, and some of the others that passed. All of them: python -m opencoder_jax.compare`
      : "";
    parts.push(...heading(`Samples: ${result.task}`, cut));
    const partner = other?.find((one) => one.task === result.task);
    const list = make("div", "list");
    for (const answer of result.answers) {
      const [title, prompt, , verdict] = answer.map((text) => details.texts[text]);
      const item = make("details");
      const summary = make("summary", "", make("span", "name", title || "sample"));
      if (verdict) summary.append(make("span", `verdict ${verdict === "passed" ? "passed" : "other"}`, verdict));
      item.append(summary);
      item.addEventListener("toggle", () => {
        if (!item.open || item.children.length > 1) return;
        const box = make("div", "evidence");
        if (prompt) box.append(make("p", "label", "Prompt"), block(prompt));
        // Texts are numbers, and the title is the first.
        const same = partner?.answers.find((one) => one[0] === answer[0]);
        const marks = same && differing(details.texts[answer[2]], details.texts[same[2]]);
        const columns = make("div", "columns", answerBlock(answer, other ? runs[shown[0]].title : "", marks?.[0]));
        if (same) columns.append(answerBlock(same, runs[shown[1]].title, marks?.[1]));
        else if (other) {
          columns.append(make("div", "", make("h4", "", runs[shown[1]].title), make("p", "quiet", "not on this page")));
        }
        box.append(columns);
        item.append(box);
      });
      list.append(item);
    }
    parts.push(list);
  }
  return parts;
};

const configurations = (shown) => {
  const texts = shown.map((run) => details.texts[details.runs[run].gin]);
  if (!texts.some(Boolean)) return [];
  const marks = shown.length > 1 ? differing(...texts) : null;
  const columns = make("div", "columns");
  texts.forEach((text, place) => {
    const box = make("div", "", make("h4", "", runs[shown[place]].title));
    const pre = block(text, marks?.[place]);
    if (marks && element("differing").checked) {
      [...pre.children].forEach((line, at) => { line.hidden = !marks[place][at]; });
    }
    box.append(pre);
    columns.append(box);
  });
  const count = marks ? marks[0].filter(Boolean).length + marks[1].filter(Boolean).length : 0;
  const note = shown.length < 2 ? "" : marks ? `${count} lines differ` : "too long to be compared";
  return [...heading("config.gin", note), columns];
};

const files = (run) => {
  const { folder, link, files: all, checkpoints } = details.runs[run];
  const place = make("p", "", Object.assign(make("a", "", folder), { href: link }));
  const rows = all.map(([name, size]) => ({ name: size === null ? `${name}/` : name, cells: [size === null ? "folder" : `${number(size)} bytes`] }));
  const note = checkpoints.length ? `Checkpoints that can be started from: ${checkpoints.map(number).join(", ")}` : "";
  return [...heading("Files", note), place, table(["Name", "Size"], rows)];
};

const drawRun = () => {
  const open = state.open !== null && details;
  element("run").hidden = !open;
  element("to-run").hidden = !open;
  rowElements.forEach((line, run) => line.classList.toggle("opened", runs[run].id === state.open));
  if (!open) return;
  const run = byId.get(state.open);
  if (state.beside === state.open) state.beside = null;
  const shown = [run, ...(state.beside ? [byId.get(state.beside)] : [])];
  element("run-title").textContent = runs[run].title;
  const choices = [new Option("no other run", "")];
  const chosen = (other) => state.selected.has(runs[other].id);
  for (const other of [...visible.filter(chosen), ...visible.filter((r) => !chosen(r)),
    ...runs.map((_, r) => r).filter((r) => !visible.includes(r))]) {
    if (other !== run) choices.push(new Option(runs[other].title, runs[other].id));
  }
  element("beside").replaceChildren(...choices);
  element("beside").value = state.beside || "";
  element("differing-label").hidden = !state.beside;
  const wrong = make("ul", "problems", ...runs[run].problems.map((text) => make("li", "", text)));
  element("run-parts").replaceChildren(
    ...(runs[run].problems.length ? [wrong] : []),
    ...heading("Phases"), chainOf(run),
    ...fieldTables(shown),
    ...evaluationTables(shown),
    ...answers(shown),
    ...configurations(shown),
    ...files(run),
  );
};
