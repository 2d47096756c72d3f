"use strict";
// Times are in microseconds from the beginning of the window; LEFT is where it stands.
const LEFT = 70, svg = document.querySelector("svg"), zoom = document.querySelector("#zoom");
const span = Number(svg.dataset.span), view = document.querySelector("#view");
function draw() {
  const middle = (view.scrollLeft + view.clientWidth / 2 - LEFT) / draw.scale || 0;
  const scale = draw.scale = Math.pow(2, Number(zoom.value)) / 1000;
  const at = t => LEFT + t * scale;
  svg.setAttribute("width", at(span) + 400);
  for (const line of svg.querySelectorAll("line[data-a]")) {
    line.setAttribute("x1", at(Number(line.dataset.a)));
    line.setAttribute("x2", at(Number(line.dataset.b)));
  }
  for (const bar of svg.querySelectorAll("rect[data-a]")) {
    bar.setAttribute("x", at(Number(bar.dataset.a)));
    bar.setAttribute("width", Math.max(1, (Number(bar.dataset.b) - Number(bar.dataset.a)) * scale));
  }
  for (const dot of svg.querySelectorAll("circle[data-a]")) dot.setAttribute("cx", at(Number(dot.dataset.a)));
  for (const text of svg.querySelectorAll("text[data-a]")) text.setAttribute("x", at(Number(text.dataset.a)) + 3);
  view.scrollLeft = LEFT + middle * scale - view.clientWidth / 2;
}
zoom.addEventListener("input", draw);
draw();
if (svg.dataset.end === "1") view.scrollLeft = view.scrollWidth;
