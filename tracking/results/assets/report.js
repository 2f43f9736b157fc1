"use strict";
(() => {
  const form = document.querySelector(".filter");
  const chart = document.getElementById("chart");
  const rows = [...document.querySelectorAll(".row, .person")];
  const find = document.getElementById("find");
  const only = document.getElementById("only-doubtful");
  const kinds = [...form.querySelectorAll("[data-kind]")];
  form.hidden = rows.length === 0;
  form.addEventListener("submit", (event) => event.preventDefault());

  const apply = () => {
    const text = find.value.trim().toLocaleLowerCase();
    const wanted = new Set(kinds.filter((box) => box.checked).map((box) => box.dataset.kind));
    const left = new Set();
    let count = 0;
    for (const row of rows) {
      const fits =
        wanted.has(row.dataset.kind) &&
        row.dataset.label.toLocaleLowerCase().includes(text) &&
        (!only.checked || Number(row.dataset.doubts) > 0);
      row.hidden = !fits;
      if (fits) {
        left.add(row.dataset.kind);
        count += row.classList.contains("row") ? 1 : 0;
      }
    }
    for (const box of kinds) {
      const section = document.getElementById(box.dataset.kind);
      const heading = chart.querySelector(`[data-heading="${box.dataset.kind}"]`);
      section.hidden = heading.hidden = !left.has(box.dataset.kind);
    }
    document.getElementById("found").value = `${count} shown`;
  };
  form.addEventListener("input", apply);

  // A line under the pointer, with its time.
  const first = Number(chart.dataset.first);
  const last = Number(chart.dataset.last);
  const fps = Number(chart.dataset.fps);
  const cursor = document.createElement("div");
  const word = document.createElement("span");
  cursor.className = "cursor";
  cursor.hidden = true;
  cursor.setAttribute("aria-hidden", "true");
  cursor.append(word);
  chart.append(cursor);
  const clock = (frame) => {
    if (!fps) return `frame ${Math.floor(frame)}`;
    const tenths = Math.round((frame / fps) * 10);
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
    word.textContent = clock(first + share * (last - first));
  });
  chart.addEventListener("pointerleave", () => (cursor.hidden = true));
})();
