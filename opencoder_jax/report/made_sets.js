// Draws the map of instructions. Text goes in as text nodes only: it comes from models.
(() => {
  const { names, colours, points } = JSON.parse(document.getElementById("map-data").textContent);
  const picture = document.getElementById("map-points");
  if (!picture) return;
  const SVG = "http://www.w3.org/2000/svg";
  const WIDTH = 1000, HEIGHT = 640, EDGE = 14;
  const told = document.getElementById("map-text");
  const legend = document.getElementById("map-legend");
  const choice = document.getElementById("map-colours");
  const kinds = Object.keys(names);
  const FIRST = 3;  // Of a point: x, y, text, then a number for each kind.
  const colour = (number) => number < colours ? `var(--series-${number + 1})` : "var(--faint)";

  const circles = points.map(([x, y]) => {
    const circle = document.createElementNS(SVG, "circle");
    circle.setAttribute("cx", (EDGE + x * (WIDTH - 2 * EDGE)).toFixed(1));
    circle.setAttribute("cy", (HEIGHT - EDGE - y * (HEIGHT - 2 * EDGE)).toFixed(1));
    circle.setAttribute("r", points.length > 600 ? 5 : 7);
    return circle;
  });
  picture.append(...circles);

  let chosen = -1;

  function choose(number) {
    if (number === chosen) return;
    if (chosen >= 0) circles[chosen].classList.remove("chosen");
    chosen = number;
    const point = points[number];
    circles[number].classList.add("chosen");
    picture.append(circles[number]);  // Above the others.
    const heading = document.createElement("b");
    heading.textContent = names.set[point[FIRST]];
    const facts = document.createElement("span");
    facts.className = "facts";
    facts.textContent = kinds.slice(1).map((kind, place) => `${kind}: ${names[kind][point[FIRST + 1 + place]]}`).join("; ");
    told.replaceChildren(heading, document.createTextNode(point[2]), facts);
  }

  function paint() {
    const place = FIRST + kinds.indexOf(choice.value);
    points.forEach((point, number) => circles[number].style.setProperty("--tone", colour(point[place])));
    const counts = names[choice.value].map((_, number) => points.filter((point) => point[place] === number).length);
    const entry = (text, number) => {
      const item = document.createElement("span");
      const mark = document.createElement("i");
      mark.style.setProperty("--tone", colour(number));
      item.append(mark, document.createTextNode(text));
      return item;
    };
    const shown = names[choice.value].slice(0, colours).map((name, number) => entry(`${name} (${counts[number]})`, number));
    const others = counts.slice(colours).reduce((sum, count) => sum + count, 0);
    if (others) shown.push(entry(`${counts.length - colours} others (${others})`, colours));
    legend.replaceChildren(...shown);
  }

  // The point nearest to the pointer, whatever lies above it.
  function nearest(event) {
    const box = picture.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * WIDTH;
    const y = ((event.clientY - box.top) / box.height) * HEIGHT;
    let best = -1, least = 30 * 30;
    circles.forEach((circle, number) => {
      const far = (circle.getAttribute("cx") - x) ** 2 + (circle.getAttribute("cy") - y) ** 2;
      if (far < least) [best, least] = [number, far];
    });
    if (best >= 0) choose(best);
  }

  // Arrow keys walk from left to right, or from top to bottom.
  const order = (axis) => points.map((_, number) => number).sort((a, b) => points[a][axis] - points[b][axis] || a - b);
  const orders = [order(0), order(1)];
  const STEPS = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowUp: [1, 1], ArrowDown: [1, -1] };

  picture.addEventListener("pointermove", nearest);
  picture.addEventListener("pointerdown", nearest);
  picture.addEventListener("keydown", (event) => {
    const step = STEPS[event.key];
    if (!step || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    const [axis, by] = step;
    const at = chosen < 0 ? (by > 0 ? -1 : points.length) : orders[axis].indexOf(chosen);
    choose(orders[axis][Math.min(Math.max(at + by, 0), points.length - 1)]);
  });
  choice.addEventListener("change", paint);
  paint();
})();
