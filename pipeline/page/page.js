"use strict";

/* Charts: Vega's interpreter (`ast`) evaluates expressions without `eval`, which the page's policy forbids. */
for (const holder of document.querySelectorAll(".chart")) {
  const spec = JSON.parse(holder.nextElementSibling.textContent);
  vegaEmbed(holder, spec, { renderer: "svg", actions: false, ast: true, tooltip: { disableDefaultStyle: false } })
    .then(() => holder.setAttribute("data-drawn", ""))
    .catch((error) => { holder.textContent = `This chart cannot be drawn here: ${error.message}`; console.error(error); });
}

/* Tables: the headings are buttons that sort; empty cells come last either way. */
const announcement = document.getElementById("announcement");

function sortBy(heading) {
  const table = heading.closest("table"), body = table.tBodies[0];
  const column = [...heading.parentNode.children].indexOf(heading);
  const numeric = heading.classList.contains("n");
  const down = heading.getAttribute("aria-sort") === "ascending" || (numeric && !heading.hasAttribute("aria-sort"));
  const key = (row) => row.children[column].dataset.v ?? row.children[column].textContent.trim();
  const rows = [...body.rows].map((row) => [key(row), row]);
  rows.sort(([a], [b]) => {
    if ((a === "") !== (b === "")) return a === "" ? 1 : -1;
    const order = numeric ? a - b : a.localeCompare(b, undefined, { numeric: true });
    return down ? -order : order;
  });
  for (const other of heading.parentNode.children) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", down ? "descending" : "ascending");
  body.append(...rows.map(([, row]) => row));
  announcement.textContent = `Sorted by ${heading.textContent.trim()}, ${down ? "descending" : "ascending"}.`;
}

for (const heading of document.querySelectorAll("table.sorts thead th")) {
  const button = document.createElement("button");
  button.type = "button";
  button.append(...heading.childNodes);
  button.addEventListener("click", () => sortBy(heading));
  heading.append(button);
}

for (const field of document.querySelectorAll("input[type=search]")) {
  field.closest(".tools").hidden = false;
  field.addEventListener("input", () => {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    const rows = [...document.getElementById(field.dataset.of).tBodies[0].rows];
    for (const row of rows) {
      const names = [...row.querySelectorAll("[title]")].map((cell) => cell.title);  // of metrics, as files have them
      const text = [row.textContent, ...names].join(" ").toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
    }
    announcement.textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length} rows.`;
  });
}
