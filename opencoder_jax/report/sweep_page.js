"use strict";
// Tables that sort by a click or a key on a heading; arms that are hidden in all curves at once.
(() => {
  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const order = head.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", order);
        const sign = order === "ascending" ? 1 : -1;
        const numbers = head.classList.contains("number");
        const value = (row) => {
          const cell = row.cells[column];
          if (!numbers) return cell.textContent;
          return "value" in cell.dataset ? Number(cell.dataset.value) : null;
        };
        const rows = [...table.tBodies[0].rows].map((row) => [value(row), row]);
        // Cells without a number stay last in both directions.
        rows.sort(([a], [b]) => {
          if (a === null || b === null) return (a === null) - (b === null);
          return sign * (numbers ? a - b : a.localeCompare(b));
        });
        table.tBodies[0].append(...rows.map(([, row]) => row));
      });
    });
  }

  const buttons = [...document.querySelectorAll(".legend button")];
  const charts = [...document.querySelectorAll(".chart[id^='curve-']")];

  function apply() {
    const hidden = new Set(
      buttons.filter((b) => b.getAttribute("aria-pressed") === "false").map((b) => b.dataset.arm)
    );
    for (const chart of charts) {
      const visible = chart.data.map((trace) => !hidden.has(trace.meta));
      Plotly.restyle(chart, { visible });
    }
  }

  for (const button of buttons) {
    button.addEventListener("click", () => {
      const pressed = button.getAttribute("aria-pressed") === "true";
      button.setAttribute("aria-pressed", String(!pressed));
      apply();
    });
  }
  // charts.js has drawn everything anew by then.
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", apply);
})();
