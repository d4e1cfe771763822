// The estate as a picture: partners, turnout, homes, and what flows between them. Thickness is flow, a broken red line is a way that
// does not work; every state is also said in words.
"use strict";

import { count, rate, svg, micros } from "./views.js";

const SHOWN = 5;
const RANK = { trouble: 0, unknown: 1, connecting: 2, good: 3, idle: 4 };
const MARK = { trouble: "bad", unknown: "warn", connecting: "warn", good: "good", idle: "" };
export const WORD = { trouble: "trouble", unknown: "not known", connecting: "connecting", good: "connected", idle: "idle" };

export function sorted(partners) {
  return [...partners].sort((a, b) => RANK[a.health.state] - RANK[b.health.state] || a.domain.localeCompare(b.domain));
}

const clip = (text, length) => (text.length > length ? `${text.slice(0, length - 1)}…` : text);
const thickness = (perSecond) => (perSecond <= 0 ? 1.6 : Math.min(9, 2 + Math.log10(1 + perSecond) * 1.7));

// Box by box: what stands on the left and on the right of turnout.
function partnerBoxes(partners) {
  const all = sorted(partners);
  const shown = all.length > SHOWN ? all.slice(0, SHOWN - 1) : all;
  const boxes = shown.map(({ domain, health }) => ({
    name: domain, state: MARK[health.state], idle: health.state === "idle",
    under: health.state === "trouble" && health.waiting ? `trouble, ${count(health.waiting)} waiting`
      : health.streams_in + health.streams_out > 0 ? `${WORD[health.state]}, ${health.streams_in} in · ${health.streams_out} out`
        : WORD[health.state],
  }));
  const more = all.slice(shown.length);
  if (more.length) {
    const bad = more.filter(({ health }) => health.state === "trouble").length;
    boxes.push({ name: `${count(more.length)} more`, state: bad ? "bad" : "", under: bad ? `${count(bad)} in trouble` : "none in trouble",
      idle: more.every(({ health }) => health.state === "idle") });
  }
  return boxes.length ? boxes : [{ name: "no partners", state: "", under: "none is configured", idle: true }];
}

function homeBoxes(live, narrow) {
  return live.sides.slice(1).map((side, index) => {
    const down = side.nodes > 0 && side.nodes_failing >= side.nodes;
    const some = side.nodes_failing > 0;
    return {
      name: side.name, className: `home-${Math.min(index, 1)}`, side, state: down ? "bad" : some ? "warn" : "good", down,
      under: `${count(side.users)} users${narrow ? "" : side.backend === "sip" ? " · SIP pool" : " · XMPP gateway"}`,
      last: down ? "no node answers" : some ? `${side.nodes_failing} of ${side.nodes} nodes fail`
        : side.delivery_p99_us === null ? "nothing delivered lately" : `99 % within ${micros(side.delivery_p99_us)}`,
    };
  });
}

function drawBox(box, x, y, width, height) {
  const middle = y + height / 2;
  const alarm = box.state === "bad" || box.state === "warn" ? box.state : "";
  const lines = box.last ? [-18, 2, 22] : [-5, 15];
  const parts = [
    svg("rect", { class: `box ${alarm || box.className || ""}`, x, y, width, height, rx: 10 }),
    mark(box.state, x + 18, middle + lines[0] - 4),
    svg("text", { class: "name", x: x + 32, y: middle + lines[0] }, clip(box.name, Math.floor((width - 40) / 8))),
    svg("text", { class: `small ${box.last ? "" : alarm}`, x: x + 32, y: middle + lines[1] }, clip(box.under, Math.floor((width - 34) / 6.2))),
  ];
  if (box.last) parts.push(svg("text", { class: `small ${alarm}`, x: x + 32, y: middle + lines[2] }, clip(box.last, Math.floor((width - 34) / 6.2))));
  return parts;
}

function mark(state, x, y) {
  const className = `mark ${state}`;
  if (state === "bad") return svg("rect", { class: className, x: x - 5, y: y - 5, width: 10, height: 10, rx: 1.5 });
  if (state === "warn") return svg("path", { class: className, d: `M${x} ${y - 6}l6 11h-12z` });
  return svg("circle", { class: className, cx: x, cy: y, r: 5 });
}

// An arrow with a head at its end.
function arrow(x1, y1, x2, y2, perSecond, bad) {
  const width = thickness(perSecond);
  const angle = Math.atan2(y2 - y1, x2 - x1);
  const head = 7 + width;
  const [bx, by] = [x2 - Math.cos(angle) * head * .8, y2 - Math.sin(angle) * head * .8];
  const side = (turn) => `${x2 - Math.cos(angle + turn) * head} ${y2 - Math.sin(angle + turn) * head}`;
  return [
    svg("path", { class: `wire ${bad ? "bad" : perSecond > 0 ? "" : "idle"}`, d: `M${x1} ${y1}L${bx} ${by}`, "stroke-width": width }),
    svg("path", { class: `tip ${bad ? "bad" : ""}`, d: `M${x2} ${y2}L${side(.5)}L${side(-.5)}Z` }),
  ];
}

const label = (x, y, text, anchor = "middle") => svg("text", { class: "rate", x, y, "text-anchor": anchor }, text);

function wide(partners, homes, live) {
  const height = Math.max(partners.length * 58, homes.length * 132, 150) + 16;
  const middle = height / 2;
  const outside = live.sides[0];
  const parts = [];
  const step = (height - 16) / partners.length;
  partners.forEach((box, index) => {
    const y = 8 + step * index + (step - 48) / 2;
    parts.push(...drawBox(box, 4, y, 246, 48));
    const end = middle + (index - (partners.length - 1) / 2) * 6;
    parts.push(svg("path", { class: `wire ${box.state === "bad" ? "bad" : box.idle ? "idle" : ""}`, "stroke-width": 1.6,
      d: `M250 ${y + 24}C286 ${y + 24} 280 ${end} 313 ${end}` }));
  });
  const bar = 14 + (partners.length - 1) * 3;
  parts.push(svg("path", { class: "wire", "stroke-width": 3, d: `M314 ${middle - bar}V${middle + bar}` }));
  parts.push(...arrow(322, middle - 11, 432, middle - 11, outside.received_per_second, false));
  parts.push(...arrow(432, middle + 11, 320, middle + 11, outside.delivered_per_second, false));
  parts.push(label(376, middle - 25, rate(outside.received_per_second)), label(376, middle + 37, rate(outside.delivered_per_second)));
  parts.push(...hub(436, middle - 44, 120, 88, live));
  const homeStep = (height - 16) / homes.length;
  homes.forEach((box, index) => {
    const y = 8 + homeStep * index + (homeStep - 84) / 2;
    const at = y + 42;
    const from = middle + (index - (homes.length - 1) / 2) * 34;
    parts.push(...arrow(560, from - 10, 700, at - 10, box.side.delivered_per_second, box.down));
    parts.push(...arrow(700, at + 10, 560, from + 10, box.side.received_per_second, box.down));
    const y70 = from + (at - from) * .66;
    parts.push(label(650, y70 - 27, rate(box.side.delivered_per_second)), label(650, y70 + 38, rate(box.side.received_per_second)));
    parts.push(...drawBox(box, 704, y, 252, 84));
  });
  return [960, height, parts];
}

function tall(partners, homes, live) {
  const parts = [];
  const outside = live.sides[0];
  let y = 4;
  for (const box of partners) {
    parts.push(...drawBox(box, 4, y, 352, 48));
    y += 54;
  }
  parts.push(...arrow(165, y + 2, 165, y + 62, outside.received_per_second, false), ...arrow(195, y + 62, 195, y + 2, outside.delivered_per_second, false));
  parts.push(label(148, y + 38, rate(outside.received_per_second), "end"), label(212, y + 38, rate(outside.delivered_per_second), "start"));
  y += 66;
  parts.push(...hub(4, y, 352, 60, live));
  y += 64;
  const width = (352 - 8 * (homes.length - 1)) / homes.length;
  homes.forEach((box, index) => {
    const x = 4 + index * (width + 8);
    const at = x + width / 2;
    parts.push(...arrow(at - 11, y, at - 11, y + 56, box.side.delivered_per_second, box.down));
    parts.push(...arrow(at + 11, y + 56, at + 11, y, box.side.received_per_second, box.down));
    parts.push(label(at - 24, y + 33, rate(box.side.delivered_per_second), "end"), label(at + 24, y + 33, rate(box.side.received_per_second), "start"));
    parts.push(...drawBox(box, x, y + 60, width, 84));
  });
  return [360, y + 148, parts];
}

function hub(x, y, width, height, live) {
  const middle = y + height / 2;
  const under = live.draining ? "stopping" : live.moving_users ? `${count(live.moving_users)} moving` : `${count(live.held)} held`;
  return [
    svg("rect", { class: "box hub", x, y, width, height, rx: 14 }),
    svg("text", { class: "name on-hub", x: x + width / 2, y: middle - 3, "text-anchor": "middle" }, "turnout"),
    svg("text", { class: "small on-hub", x: x + width / 2, y: middle + 17, "text-anchor": "middle" }, under),
  ];
}

// The same in words, for those who do not see it.
function inWords(partners, homes, live) {
  const outside = live.sides[0];
  return [
    `From partners ${rate(outside.received_per_second)}, to partners ${rate(outside.delivered_per_second)}.`,
    ...partners.map((box) => `${box.name}: ${box.under}.`),
    ...homes.map((box) => `${box.name}: ${box.under}, ${box.last}, to it ${rate(box.side.delivered_per_second)}, from it ${rate(box.side.received_per_second)}.`),
  ].join(" ");
}

export function picture(place, live, partners, narrow) {
  const [left, right] = [partnerBoxes(partners), homeBoxes(live, narrow)];
  const [width, height, parts] = (narrow ? tall : wide)(left, right, live);
  place.replaceChildren(svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `The estate. ${inWords(left, right, live)}` }, ...parts));
}
