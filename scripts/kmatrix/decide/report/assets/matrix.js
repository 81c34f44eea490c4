// Filters the matrix; the filter is kept in the address's fragment, so that a filtered view can be shared.
"use strict";
(() => {
  const form = document.getElementById("filters");
  const table = document.getElementById("cells");
  if (!form || !table) return;

  // What a printed matrix was filtered by.
  const NOUNS = { text: "kernel or release", verdict: "verdict", minor: "OpenShift minor", client: "client version", arch: "architecture", flavour: "flavour", stream: "stream" };
  const count = new Intl.NumberFormat("en-US");
  const heads = [...table.tHead.rows[0].cells];
  const clients = heads.slice(1).map((head) => head.textContent.trim());
  const groups = [...table.tBodies].map((body) => ({
    body,
    rows: [...body.rows].slice(1).map((line) => ({
      line,
      kernel: line.cells[0].querySelector(".kernel").textContent,
      text: line.cells[0].textContent.toLowerCase(),
      minor: line.dataset.minor.split(" "),
      arch: [line.dataset.arch],
      flavour: [line.dataset.flavour],
      stream: [line.dataset.stream],
      cells: [...line.cells].slice(1).map((cell) => ({ cell, link: cell.firstElementChild })),
    })),
  }));
  const rows = groups.flatMap((group) => group.rows);
  const total = rows.reduce((sum, row) => sum + row.cells.filter((each) => each.link).length, 0);
  const hiddenColumns = clients.map(() => false);

  // Changes nothing that is right already: what is not touched is not laid out again.
  const hide = (element, hidden) => {
    if (element.hidden !== hidden) element.hidden = hidden;
  };

  const chosen = () => {
    const found = { text: form.elements.text.value.trim().toLowerCase() };
    for (const name of ["verdict", "minor", "client", "arch", "flavour", "stream"]) {
      found[name] = new Set([...form.querySelectorAll(`input[name="${name}"]:checked`)].map((box) => box.value));
    }
    return found;
  };
  const admits = (set, values) => set.size === 0 || values.some((value) => set.has(value));

  function apply() {
    const filter = chosen();
    const wanted = clients.map((client) => admits(filter.client, [client]));
    const used = clients.map(() => false);
    let shown = 0;
    for (const group of groups) {
      let any = false;
      for (const row of group.rows) {
        let visible = row.text.includes(filter.text)
          && ["minor", "arch", "flavour", "stream"].every((name) => admits(filter[name], row[name]));
        if (visible) {
          let matches = 0;
          row.cells.forEach(({ link }, column) => {
            if (!link) return;
            const fits = admits(filter.verdict, [link.className]);
            hide(link, !fits);
            if (fits && wanted[column]) {
              matches += 1;
              used[column] = true;
            }
          });
          shown += matches;
          visible = matches > 0;
        }
        hide(row.line, !visible);
        any ||= visible;
      }
      hide(group.body, !any);
    }
    used.forEach((use, column) => {
      if (hiddenColumns[column] === !use) return;
      hiddenColumns[column] = !use;
      hide(heads[column + 1], !use);
      for (const row of rows) hide(row.cells[column].cell, !use);
    });
    document.getElementById("shown").textContent = shown
      ? `${count.format(shown)} of ${count.format(total)} cells shown`
      : `No cell fits: 0 of ${count.format(total)} cells shown`;
    const wishes = Object.entries(filter).map(([name, value]) => [NOUNS[name], typeof value === "string" ? value : [...value].join(", ")])
      .filter(([, value]) => value);
    form.classList.toggle("filtered", wishes.length > 0);
    document.getElementById("shown").dataset.filter = wishes.map((each) => each.join(" ")).join("; ");
    for (const menu of form.querySelectorAll(".menu")) {
      const boxes = [...menu.querySelectorAll("input")];
      const on = boxes.filter((box) => box.checked).map((box) => box.value);
      menu.querySelector(".chosen").textContent = on.length === 0 ? `all ${boxes.length}`
        : on.length < 4 ? on.join(", ") : `${on.length} of ${boxes.length}`;
    }
  }

  function remember() {
    const parameters = new URLSearchParams();
    for (const [name, value] of Object.entries(chosen())) {
      const text = typeof value === "string" ? value : [...value].join(",");
      if (text) parameters.set(name, text);
    }
    const fragment = parameters.toString().replaceAll("%2C", ",");
    history.replaceState(null, "", fragment ? `#${fragment}` : location.pathname + location.search);
  }

  function recall() {
    const parameters = new URLSearchParams(location.hash.slice(1));
    form.elements.text.value = parameters.get("text") ?? "";
    for (const box of form.querySelectorAll("input[type=checkbox]")) {
      box.checked = (parameters.get(box.name) ?? "").split(",").includes(box.value);
    }
  }

  const update = () => {
    apply();
    remember();
  };
  form.addEventListener("input", update);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", (event) => {
    event.preventDefault();
    form.elements.text.value = "";
    for (const box of form.querySelectorAll("input:checked")) box.checked = false;
    update();
  });
  window.addEventListener("hashchange", () => {
    recall();
    apply();
  });

  const menus = [...form.querySelectorAll(".menu details")];
  document.addEventListener("click", (event) => {
    for (const menu of menus) if (!menu.contains(event.target)) menu.open = false;
  });
  form.addEventListener("keydown", (event) => {
    const menu = event.key === "Escape" && event.target.closest(".menu details[open]");
    if (!menu) return;
    menu.open = false;
    menu.querySelector("summary").focus();
  });

  // A sign alone is short: name the cell for the pointer. The links' own names say it to screen readers.
  const name = (event) => {
    const link = event.target.closest("td > *");
    if (!link || link.dataset.named) return;
    const cell = link.parentElement;
    const kernel = cell.parentElement.querySelector(".kernel").textContent;
    link.title = [`${clients[cell.cellIndex - 1]} on ${kernel}: ${link.textContent}`, link.title].filter(Boolean).join("\n");
    link.dataset.named = "yes";
  };
  table.addEventListener("pointerover", name);

  // Arrow keys go from cell to cell, past those that are hidden or not planned.
  table.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    const from = event.target.closest("td a")?.parentElement;
    if (!step || !from || event.ctrlKey || event.altKey || event.metaKey) return;
    let line = rows.findIndex((row) => row.line === from.parentElement);
    let column = from.cellIndex - 1;
    for (;;) {
      line += step[0];
      column += step[1];
      const next = rows[line]?.cells[column];
      if (!next) return;
      if (next.link?.href && next.link.checkVisibility()) {
        event.preventDefault();
        next.link.focus();
        return;
      }
    }
  });

  // On a narrow screen the filters would fill it, so they are folded up there.
  const wide = matchMedia("(min-width: 40.01rem)");
  const fold = () => {
    form.querySelector(".facets").open = wide.matches;
  };
  wide.addEventListener("change", fold);
  fold();
  form.hidden = false;
  if (location.hash) {
    recall();
    apply();
  }
})();
