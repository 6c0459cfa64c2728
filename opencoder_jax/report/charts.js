// Draws every chart in the page's own colours, again when the colour scheme changes.
// Figures name colours as CSS variables, `var(--series-1)`; Plotly needs their values.
(() => {
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const dark = window.matchMedia("(prefers-color-scheme: dark)");

  function withColours(value, style) {
    if (typeof value === "string") {
      return value.replace(/var\((--[\w-]+)\)/g, (_, name) => style.getPropertyValue(name).trim());
    }
    if (Array.isArray(value)) return value.map((item) => withColours(item, style));
    if (value && typeof value === "object") {
      return Object.fromEntries(
        Object.entries(value).map(([key, item]) => [key, withColours(item, style)])
      );
    }
    return value;
  }

  function draw() {
    const style = getComputedStyle(document.documentElement);
    for (const [id, figure] of Object.entries(figures)) {
      const { data, layout } = withColours(figure, style);
      // When the window changes Plotly lets go of the height, and what follows moves over it.
      document.getElementById(id).style.minHeight = `${layout.height}px`;
      Plotly.react(id, data, layout, { displayModeBar: false, responsive: true });
    }
  }

  draw();
  dark.addEventListener("change", draw);
})();
