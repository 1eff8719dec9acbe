for (const table of document.querySelectorAll("table")) {
  const body = table.tBodies[0];
  [...table.tHead.rows[0].cells].forEach((head, column) => head.addEventListener("click", () => {
    const down = head.getAttribute("aria-sort") === "ascending";
    const text = row => row.cells[column].textContent.trim();
    const number = row => parseFloat(text(row).replace("\u2212", "-").replace(/[,\u202f]/g, ""));
    const rows = [...body.rows];
    const bare = row => text(row) === "" || text(row) === "\u2013";
    const numeric = rows.every(row => bare(row) || !isNaN(number(row)));
    const order = (a, b) => numeric
      ? (isNaN(number(a)) ? -Infinity : number(a)) - (isNaN(number(b)) ? -Infinity : number(b))
      : text(a).localeCompare(text(b));
    rows.sort((a, b) => down ? order(b, a) : order(a, b));
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    body.append(...rows);
  }));
}
