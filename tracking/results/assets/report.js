"use strict";
(() => {
  const form = document.querySelector(".filter");
  const chart = document.getElementById("chart");
  const rows = [...document.querySelectorAll(".row, .card")];
  const find = document.getElementById("find");
  const onlyIssues = document.getElementById("only-issues");
  const kinds = [...form.querySelectorAll("[data-kind]")];
  form.hidden = rows.length === 0;
  form.addEventListener("submit", (event) => event.preventDefault());

  const apply = () => {
    const text = find.value.trim().toLocaleLowerCase();
    const wanted = new Set(kinds.filter((box) => box.checked).map((box) => box.dataset.kind));
    const shownKinds = new Set();
    let count = 0;
    for (const row of rows) {
      const matches =
        wanted.has(row.dataset.kind) &&
        row.dataset.label.toLocaleLowerCase().includes(text) &&
        (!onlyIssues.checked || Number(row.dataset.issues) > 0);
      row.hidden = !matches;
      if (matches) {
        shownKinds.add(row.dataset.kind);
        count += row.classList.contains("row") ? 1 : 0;
      }
    }
    for (const box of kinds) {
      const section = document.getElementById(box.dataset.kind);
      const heading = chart.querySelector(`[data-heading="${box.dataset.kind}"]`);
      section.hidden = heading.hidden = !shownKinds.has(box.dataset.kind);
    }
    document.getElementById("found").value = `${count} ${count === 1 ? "row" : "rows"} shown`;
  };
  form.addEventListener("input", apply);

  // A vertical line at the pointer, with its time.
  const first = Number(chart.dataset.first);
  const last = Number(chart.dataset.last);
  const inSeconds = chart.dataset.unit === "seconds";
  const cursor = document.createElement("div");
  const label = document.createElement("span");
  cursor.className = "cursor";
  cursor.hidden = true;
  cursor.setAttribute("aria-hidden", "true");
  cursor.append(label);
  chart.append(cursor);
  const formatTime = (place) => {
    if (!inSeconds) return `frame ${Math.floor(place)}`;
    const tenths = Math.round(place * 10);
    const seconds = ((tenths % 600) / 10).toFixed(1).padStart(4, "0");
    const minutes = Math.floor(tenths / 600);
    return minutes < 60 ? `${minutes}:${seconds}` : `${Math.floor(minutes / 60)}:${String(minutes % 60).padStart(2, "0")}:${seconds.slice(0, 2)}`;
  };
  chart.addEventListener("pointermove", (event) => {
    const bars = event.target.closest(".bars");
    cursor.hidden = !bars;
    if (!bars) return;
    const box = bars.getBoundingClientRect();
    const share = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
    cursor.style.left = `${event.clientX - chart.getBoundingClientRect().left}px`;
    label.textContent = formatTime(first + share * (last - first));
  });
  chart.addEventListener("pointerleave", () => (cursor.hidden = true));
})();
