(() => {
  "use strict";

  const root = document.documentElement;
  const button = document.getElementById("theme");
  const prefers = matchMedia("(prefers-color-scheme: dark)");

  // Some browsers forbid storage to pages that are opened from a disk: the choice then lasts as long as the page.
  const kept = (write) => {
    try {
      return write === undefined ? localStorage.getItem("theme") : localStorage.setItem("theme", write);
    } catch {
      return null;
    }
  };
  const dark = () => (root.dataset.theme ? root.dataset.theme === "dark" : prefers.matches);
  const name = () => {
    button.textContent = dark() ? "Light" : "Dark";
    button.setAttribute("aria-label", `Change to ${dark() ? "light" : "dark"} colours`);
  };

  const before = kept();
  if (before === "dark" || before === "light") root.dataset.theme = before;
  button.addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
    kept(root.dataset.theme);
    name();
  });
  prefers.addEventListener("change", name);
  name();
  button.hidden = false;

  // Numbers are read off a chart from the table behind it, at the row that the slider or the pointer is at.
  for (const figure of document.querySelectorAll(".lines")) {
    const chart = figure.querySelector(":scope > svg");
    const slider = figure.querySelector("input");
    const output = figure.querySelector("output");
    const cursor = figure.querySelector(".cursor");
    const marks = figure.querySelectorAll(".mark");
    const heads = [...figure.querySelectorAll("thead th")].map((head) => head.textContent);
    const rows = [...figure.querySelectorAll("tbody tr")];
    const places = rows.map((row) => Number(row.dataset.at));

    const nearest = (at, fits) => {
      let found = -1;
      places.forEach((place, i) => {
        if (fits(i) && (found < 0 || Math.abs(place - at) < Math.abs(places[found] - at))) found = i;
      });
      return found;
    };
    const show = () => {
      const index = Number(slider.value);
      const at = places[index];
      const x = rows[index].cells[0].textContent;
      const told = [`${heads[0]} ${x}`];
      cursor.setAttribute("transform", `translate(${at} 0)`);
      cursor.style.visibility = "visible";
      marks.forEach((mark, series) => {
        const there = nearest(at, (i) => rows[i].cells[series + 1].dataset.at !== undefined);
        mark.style.visibility = there < 0 ? "hidden" : "visible";
        if (there < 0) return;
        const cell = rows[there].cells[series + 1];
        mark.setAttribute("cx", places[there]);
        mark.setAttribute("cy", cell.dataset.at);
        const elsewhere = there === index ? "" : ` (at ${rows[there].cells[0].textContent})`;
        told.push(`${heads[series + 1]}: ${cell.textContent}${elsewhere}`);
      });
      output.textContent = told.join("\n");
      slider.setAttribute("aria-valuetext", told.join(", "));
    };

    slider.addEventListener("input", show);
    slider.addEventListener("focus", show);
    chart.addEventListener("pointermove", (event) => {
      const box = chart.getBoundingClientRect();
      const at = ((event.clientX - box.left) / box.width) * chart.viewBox.baseVal.width;
      slider.value = nearest(at, () => true);
      show();
    });
    figure.querySelector(".read").hidden = false;
    show();
  }
})();
