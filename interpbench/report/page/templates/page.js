"use strict";
(() => {
  const root = document.documentElement;
  const data = JSON.parse(document.getElementById("data").textContent);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  root.classList.add("js");

  // Light and dark.
  const theme = document.getElementById("theme");
  const prefersDark = matchMedia("(prefers-color-scheme: dark)");
  let dark = prefersDark.matches;
  function paint() {
    root.style.colorScheme = dark ? "dark" : "light";
    theme.setAttribute("aria-pressed", String(dark));
  }
  theme.addEventListener("click", () => { dark = !dark; paint(); });
  prefersDark.addEventListener("change", (event) => { dark = event.matches; paint(); });
  paint();

  // A method that is pointed at, focused or chosen lights up everywhere.
  const marked = new Map();
  for (const element of all("[data-m]")) {
    const method = element.dataset.m;
    if (!marked.has(method)) marked.set(method, []);
    marked.get(method).push(element);
  }
  const figures = all("[data-chart]").map((figure) => ({
    figure, chart: data.charts[Number(figure.dataset.chart)], readout: figure.querySelector(".readout"),
    cursor: figure.querySelector(".cursor"), svg: figure.querySelector("svg"),
  }));
  let lit = null;
  let chosen = null;
  function light(method) {
    if (method === lit) return;
    for (const element of marked.get(lit) ?? []) element.classList.remove("lit");
    for (const element of marked.get(method) ?? []) element.classList.add("lit");
    lit = method;
    root.classList.toggle("has-lit", lit !== null);
    for (const { chart, readout } of figures) readout.textContent = chart.curves[lit]?.label ?? "";
  }
  const methodOf = (target) => target.closest?.("[data-m]")?.dataset.m ?? chosen;
  document.addEventListener("pointerover", (event) => {
    if (!event.target.closest?.("[data-chart] svg")) light(methodOf(event.target));
  });
  document.addEventListener("focusin", (event) => light(methodOf(event.target)));
  const chips = all(".chip");
  for (const chip of chips) {
    chip.addEventListener("click", () => {
      chosen = chosen === chip.dataset.m ? null : chip.dataset.m;
      for (const other of chips) other.setAttribute("aria-pressed", String(other.dataset.m === chosen));
      light(chosen);
    });
  }

  // In a chart, the nearest curve and its value below the pointer.
  const panel = { left: 46, right: 448, top: 10, bottom: 244 };
  function point({ chart, readout, cursor, svg }, event) {
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    const share = Math.min(1, Math.max(0, (at.x - panel.left) / (panel.right - panel.left)));
    const value = chart.high - (at.y - panel.top) / (panel.bottom - panel.top) * (chart.high - chart.low);
    const gaps = chart.fractions.map((fraction) => Math.abs(fraction - share));
    const index = gaps.indexOf(Math.min(...gaps));
    let nearest = chosen;
    if (nearest === null || !(nearest in chart.curves)) {
      const far = (key) => Math.abs(chart.curves[key].values[index] - value);
      nearest = Object.keys(chart.curves).reduce((a, b) => (far(a) <= far(b) ? a : b));
    }
    light(nearest);
    const curve = chart.curves[nearest];
    readout.textContent = `${curve.label}; ${curve.values[index].toFixed(3)} at ${Math.round(100 * chart.fractions[index])} %`;
    const x = panel.left + chart.fractions[index] * (panel.right - panel.left);
    cursor.setAttribute("d", `M${x} ${panel.top}V${panel.bottom}`);
    cursor.setAttribute("visibility", "visible");
  }
  for (const found of figures) {
    found.svg.addEventListener("pointermove", (event) => point(found, event));
    found.svg.addEventListener("pointerleave", () => {
      found.cursor.setAttribute("visibility", "hidden");
      light(chosen);
    });
  }

  // The leaderboard: sorting and filters.
  const board = document.getElementById("board");
  const body = board.querySelector("tbody");
  const rows = all("tr", body);
  const heads = all("thead th", board);
  const filter = document.getElementById("filter");
  const noRow = document.querySelector("#leaderboard .none");
  function value(row, column) {
    const cell = row.cells[column];
    if (cell.dataset.value === undefined) return cell.textContent.trim();
    return cell.dataset.value === "" ? null : Number(cell.dataset.value);
  }
  function compare(a, b, sign) {
    if (a === null || b === null) return (a === null) - (b === null);
    return sign * (typeof a === "number" ? a - b : a.localeCompare(b, "en", { numeric: true }));
  }
  function greatestIsBest(key) {
    return key === "share" || (key === "mean" && rows.every((row) => row.hidden || row.dataset.better === "higher"));
  }
  function sort(head) {
    const before = head.getAttribute("aria-sort");
    const falling = before === null ? greatestIsBest(head.dataset.key) : before === "ascending";
    for (const other of heads) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", falling ? "descending" : "ascending");
    const column = heads.indexOf(head);
    rows.sort((a, b) => compare(value(a, column), value(b, column), falling ? -1 : 1));
    body.append(...rows);
    board.classList.add("sorted");
  }
  for (const head of heads) head.querySelector("button")?.addEventListener("click", () => sort(head));
  function showRows() {
    const { metric, place, text } = filter.elements;
    const words = text.value.toLowerCase().split(/\s+/);
    board.classList.toggle("one-metric", metric.value !== "");
    board.classList.toggle("one-model", place.value !== "");
    let shown = 0;
    for (const row of rows) {
      row.hidden = (metric.value !== "" && row.dataset.metric !== metric.value)
        || (place.value !== "" && row.dataset.place !== place.value)
        || !words.every((word) => row.textContent.toLowerCase().includes(word));
      shown += !row.hidden;
    }
    noRow.hidden = shown > 0;
    filter.elements.shown.value = `${shown} of ${rows.length} rows`;
  }
  filter.addEventListener("input", showRows);
  filter.addEventListener("submit", (event) => event.preventDefault());
  if (filter.elements.metric.options.length > 2) filter.elements.metric.value = "0";
  showRows();

  // The gallery: layers and filters.
  const choose = document.getElementById("choose");
  if (!choose) return;
  const gallery = document.getElementById("examples");
  const examples = all(".example", gallery);
  const wanted = choose.elements;
  function score(example) {
    const scores = data.images[Number(example.dataset.example)];
    const methods = wanted.method.value === "" ? Object.keys(scores) : [wanted.method.value];
    const values = methods.map((method) => scores[method]?.[wanted.metric.value]).filter((found) => found !== undefined);
    return values.length ? values.reduce((a, b) => a + b) / values.length : null;
  }
  function showExamples() {
    gallery.style.setProperty("--strength", wanted.strength.value / 100);
    gallery.classList.toggle("no-outline", Boolean(wanted.outline && !wanted.outline.checked));
    let fitting = examples.filter((example) => (wanted.place.value === "" || example.dataset.place === wanted.place.value)
      && (wanted.class.value === "" || example.dataset.class === wanted.class.value)
      && (!wanted.wrong.checked || example.dataset.wrong === "1"));
    const order = wanted.order.value;
    if (order) {
      const sign = (data.better[wanted.metric.value] === "lower") === (order === "best") ? 1 : -1;
      fitting = fitting.filter((example) => score(example) !== null);
      fitting.sort((a, b) => compare(score(a), score(b), sign));
      fitting = fitting.slice(0, 3);
    }
    for (const example of examples) example.hidden = !fitting.includes(example);
    gallery.prepend(...fitting, ...examples.filter((example) => example.hidden));
    gallery.querySelector(".none").hidden = fitting.length > 0;
    wanted.shown.value = `${fitting.length} of ${examples.length} examples`;
    for (const tile of all(".tile[data-m]", gallery)) {
      const found = data.images[Number(tile.closest(".example").dataset.example)][tile.dataset.m]?.[wanted.metric.value];
      tile.querySelector(".score").textContent = found === undefined ? "" : `${wanted.metric.value} ${found.toFixed(3)}`;
    }
  }
  choose.addEventListener("input", showExamples);
  choose.addEventListener("submit", (event) => event.preventDefault());
  if (wanted.place.options.length > 2) wanted.place.value = "0";
  showExamples();
})();
