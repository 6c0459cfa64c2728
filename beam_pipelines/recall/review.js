"use strict";
// Candidate domains: filters, fifty at a time, details built when one is opened, a table to take away.
(() => {
  const { labels, candidates, table_name: tableName } =
    JSON.parse(document.getElementById("data").textContent);
  const PAGE = 50;
  const HEADER = "pattern\tlabel\tnote";
  const element = (id) => document.getElementById(id);
  const list = element("list");
  const more = element("more");
  const rows = element("rows");
  let chosen = candidates;
  let drawn = 0;
  rows.value = `${HEADER}\n`;

  const make = (tag, className, text) => {
    const made = document.createElement(tag);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
  };
  const percent = (part, whole) => `${whole ? ((100 * part) / whole).toFixed(1) : "0.0"} %`;
  const number = (value) => value.toLocaleString("en").replaceAll(",", "\u202f");
  const megabytes = (value) => `${(value / 1e6).toFixed(value < 1e7 ? 2 : 0)} MB`;

  // Pattern to label, as the table has them now.
  const annotated = () => {
    const found = new Map();
    rows.value.split("\n").forEach((line) => {
      const [pattern, label] = line.split("\t");
      if (pattern && label && line !== HEADER && !line.startsWith("#")) found.set(pattern, label);
    });
    return found;
  };
  const put = (pattern, label, note) => {
    const lines = rows.value.split("\n").filter((line) => line && line.split("\t")[0] !== pattern);
    if (annotated().get(pattern) !== label) lines.push(`${pattern}\t${label}\t${note}`);
    rows.value = `${lines.join("\n")}\n`;
    mark();
  };
  const mark = () => {
    const found = annotated();
    document.querySelectorAll(".adds button").forEach((button) => {
      const { pattern, label } = button.dataset;
      button.setAttribute("aria-pressed", String(found.get(pattern) === label));
    });
    document.querySelectorAll(".domain").forEach((details) => {
      const count = rowsOf(candidates[Number(details.dataset.index)], found);
      details.querySelector(".mark").textContent = count ? `${count} of your rows` : "";
    });
  };
  const rowsOf = (candidate, found) =>
    candidate.beginnings.filter((b) => found.has(b.pattern)).length;

  const beginnings = (candidate) => {
    const suggested = new Set(candidate.suggestions.map((s) => s.pattern));
    const table = make("table");
    const head = make("tr");
    ["Pattern", "pages", "recalled", "share", "add as"].forEach((title, column) => {
      head.append(make("th", column > 0 && column < 4 ? "number" : "", title));
    });
    const top = make("thead");
    top.append(head);
    const body = make("tbody");
    candidate.beginnings.forEach((b) => {
      const row = make("tr");
      row.append(
        make("td", suggested.has(b.pattern) ? "pattern suggested" : "pattern", b.pattern),
        make("td", "number", number(b.pages)),
        make("td", "number", number(b.recalled)),
        make("td", "number", percent(b.recalled, b.pages)),
      );
      const adds = make("td", "adds");
      labels.forEach((label) => {
        const button = make("button", "", label);
        button.type = "button";
        button.dataset.pattern = b.pattern;
        button.dataset.label = label;
        button.addEventListener("click", () =>
          put(b.pattern, label, `${b.recalled} of ${b.pages} pages recalled`));
        adds.append(button);
      });
      row.append(adds);
      body.append(row);
    });
    table.append(top, body);
    const scroll = make("div", "scroll");
    scroll.append(table);
    return scroll;
  };

  const sample = (page) => {
    const box = make("div", "sample");
    box.append(make("div", "url", `${page.url} · ${page.label} ${page.score.toFixed(2)}`));
    box.append(make("pre", "", page.text));
    return box;
  };

  const evidence = (candidate) => {
    const box = make("div", "evidence");
    box.append(beginnings(candidate));
    const columns = make("div", "columns");
    [["recalled", "Recalled"], ["missed", "Not recalled"]].forEach(([kind, title]) => {
      const column = make("div");
      column.append(make("p", "label", title));
      const pages = candidate.examples[kind];
      if (!pages.length) column.append(make("p", "", "no page"));
      pages.forEach((page) => column.append(sample(page)));
      columns.append(column);
    });
    box.append(columns);
    return box;
  };

  const row = (candidate) => {
    const details = make("details", "domain");
    details.dataset.index = String(candidates.indexOf(candidate));
    const summary = make("summary");
    const about = [
      `${number(candidate.pages)} pages`,
      megabytes(candidate.bytes),
      ...Object.entries(candidate.labels).filter(([, n]) => n).map(([l, n]) => `${number(n)} ${l}`),
      candidate.recalled_before ? `${number(candidate.recalled_before)} the round before` : "",
    ].filter(Boolean).join(" · ");
    const aside = make("span", "aside", percent(candidate.recalled, candidate.pages));
    const bar = make("span", "bar");
    const fill = make("i");
    fill.style.width = percent(candidate.recalled, candidate.pages).replace(" ", "");
    bar.append(fill);
    aside.append(bar);
    summary.append(
      make("span", "name", candidate.domain),
      make("span", "about", about),
      make("span", "mark"),
      aside,
    );
    details.append(summary);
    details.addEventListener("toggle", () => {
      if (details.open && details.children.length === 1) {
        details.append(evidence(candidate));
        mark();
      }
    });
    return details;
  };

  const draw = () => {
    chosen.slice(drawn, drawn + PAGE).forEach((candidate) => list.append(row(candidate)));
    drawn = Math.min(drawn + PAGE, chosen.length);
    more.hidden = drawn >= chosen.length;
    element("shown").textContent = `${chosen.length} of ${candidates.length} domains`;
    mark();
  };

  const contains = (candidate, text) =>
    [
      candidate.domain,
      ...candidate.beginnings.map((b) => b.text),
      ...["recalled", "missed"].flatMap((kind) =>
        candidate.examples[kind].flatMap((page) => [page.url, page.text])),
    ].some((part) => part.toLowerCase().includes(text));

  const filter = () => {
    const text = element("text").value.trim().toLowerCase();
    const share = Number(element("share").value);
    const state = element("state").value;
    const found = annotated();
    chosen = candidates.filter((c) =>
      c.recalled >= share * c.pages
      && (state !== "suggested" || c.suggestions.length > 0)
      && (state !== "open" || rowsOf(c, found) === 0)
      && (state !== "done" || rowsOf(c, found) > 0)
      && (!text || contains(c, text)));
    list.replaceChildren();
    drawn = 0;
    draw();
  };

  const say = (text) => { element("said").textContent = text; };
  element("suggest").addEventListener("click", () => {
    const found = annotated();
    chosen.forEach((c) => c.suggestions.forEach((s) => {
      if (!found.has(s.pattern)) put(s.pattern, s.label, `${s.recalled} of ${s.pages} pages recalled`);
    }));
  });
  element("copy").addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(rows.value);
      say("copied");
    } catch {
      // Pages opened from a file may not write to the clipboard.
      rows.focus();
      rows.select();
      say("selected: press Ctrl+C");
    }
  });
  element("save").addEventListener("click", () => {
    const link = make("a");
    link.href = URL.createObjectURL(new Blob([rows.value], { type: "text/tab-separated-values" }));
    link.download = tableName;
    link.click();
    URL.revokeObjectURL(link.href);
    say("saved where your browser saves files");
  });
  ["share", "state"].forEach((id) => element(id).addEventListener("change", filter));
  element("text").addEventListener("input", filter);
  rows.addEventListener("input", mark);
  more.addEventListener("click", draw);
  draw();
})();
