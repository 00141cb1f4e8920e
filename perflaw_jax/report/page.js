"use strict";
// Draws the charts in the colours of the page, fills the heat map's list, sorts and filters the tables.
const figures = JSON.parse(document.getElementById("figures").textContent);
const dark = window.matchMedia("(prefers-color-scheme: dark)");
const config = {
  responsive: true,
  displaylogo: false,
  modeBarButtonsToRemove: ["lasso2d", "select2d", "autoScale2d"],
  // on a touch screen they would always be shown, on top of the legend
  displayModeBar: matchMedia("(hover: hover)").matches ? "hover" : false,
};

function themed(layout) {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  const own = { ...layout, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)" };
  own.font = { ...layout.font, color: colour("--text") };
  own.hoverlabel = { bgcolor: colour("--panel"), bordercolor: colour("--line"), font: { color: colour("--text") } };
  for (const key of Object.keys(own).filter((name) => /^[xy]axis\d*$/.test(name))) {
    own[key] = { ...own[key], gridcolor: colour("--line"), linecolor: colour("--quiet"), tickcolor: colour("--quiet") };
  }
  return own;
}

function draw(box) {
  const figure = figures[box.dataset.chart];
  Plotly.react(box, figure.data, themed(figure.layout), config);
}

const boxes = [...document.querySelectorAll("[data-chart]")];
boxes.forEach(draw);
dark.addEventListener("change", () => boxes.forEach(draw));

for (const list of document.querySelectorAll("select[data-for]")) {
  const box = document.getElementById(list.dataset.for);
  const caption = document.getElementById(`${list.dataset.for}-caption`);
  list.addEventListener("change", () => {
    box.dataset.chart = list.value;
    box.setAttribute("aria-label", list.selectedOptions[0].dataset.told);
    caption.textContent = list.selectedOptions[0].dataset.caption;
    draw(box);
  });
}

function sortBy(table, column, rising) {
  const body = table.tBodies[0];
  const key = (row) => Number(row.cells[column].dataset.value);
  const order = (a, b) => {
    const [x, y] = [key(a), key(b)];
    if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y); // what is unknown comes last
    return rising ? x - y : y - x;
  };
  body.append(...[...body.rows].sort(order));
}

for (const table of document.querySelectorAll("table[data-sortable]")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => {
      const rising = head.getAttribute("aria-sort") !== "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", rising ? "ascending" : "descending");
      sortBy(table, column, rising);
    });
  });
}

for (const field of document.querySelectorAll("input[data-filters]")) {
  const rows = [...document.getElementById(field.dataset.filters).tBodies[0].rows];
  const shown = document.getElementById(`${field.dataset.filters}-shown`);
  field.addEventListener("input", () => {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const row of rows) {
      const text = [...row.cells].map((cell) => cell.textContent.toLowerCase()).join(" ");
      row.hidden = !words.every((word) => text.includes(word));
    }
    shown.textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length} designs`;
  });
}
