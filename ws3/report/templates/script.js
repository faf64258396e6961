"use strict";
// The page is complete without this: it adds sorting of tables and larger pictures.
for (const table of document.querySelectorAll("table[data-sortable]")) {
  const heads = [...table.querySelectorAll("thead th[data-sort]")];
  for (const head of heads) {
    const button = document.createElement("button");
    button.type = "button";
    button.title = "Sort by this column";
    button.append(head.firstChild);
    head.prepend(button);
    button.addEventListener("click", () => {
      const descending = head.getAttribute("aria-sort") !== "descending";
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", descending ? "descending" : "ascending");
      for (const body of table.tBodies) {
        const rows = [...body.rows].filter((row) => row.cells.length > 1);
        const value = (row) => row.cells[head.cellIndex].dataset.value ?? "";
        const number = (row) => (value(row) === "" ? NaN : Number(value(row)));
        rows.sort((a, b) => {
          const [x, y] = [number(a), number(b)];
          if (Number.isNaN(x) && Number.isNaN(y)) {
            const order = value(a).localeCompare(value(b));
            return descending ? -order : order;
          }
          if (Number.isNaN(x)) return 1;
          if (Number.isNaN(y)) return -1;
          return descending ? y - x : x - y;
        });
        body.append(...rows);
      }
    });
  }
}
const box = document.createElement("dialog");
const picture = document.createElement("img");
const words = document.createElement("p");
const close = document.createElement("button");
close.type = "button";
close.textContent = "Close";
box.setAttribute("aria-label", "Enlarged picture");
box.append(picture, words, close);
box.addEventListener("click", () => box.close());
document.body.append(box);
for (const link of document.querySelectorAll("a.zoom")) {
  link.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    const small = link.querySelector("img");
    picture.src = link.href;
    picture.alt = small.alt;
    words.textContent = small.alt;
    box.showModal();
  });
}
