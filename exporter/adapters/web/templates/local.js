// Adds what only the reader's device knows: the local time beside UTC, and how long a page has been open.
// The pages work without it, and nothing else runs on them.
"use strict";

for (const time of document.querySelectorAll("time[datetime]")) {
  const at = new Date(time.dateTime);
  if (Number.isNaN(at.getTime()) || at.getTimezoneOffset() === 0) continue;
  time.title = at.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "long" });
  if (time.textContent !== time.getAttribute("datetime")) continue; // it tells an age
  const sameDay = at.getDate() === at.getUTCDate();
  const local = document.createElement("span");
  local.className = "local";
  local.textContent = at.toLocaleString(undefined, {
    hour: "2-digit", minute: "2-digit", ...(sameDay ? {} : { day: "numeric", month: "short" }),
  }) + " local";
  time.after(" ", local);
}

const asOf = document.querySelector(".as-of");
if (asOf) {
  const opened = Date.now();
  const age = document.createElement("strong");
  setInterval(() => {
    const minutes = Math.floor((Date.now() - opened) / 60_000);
    if (minutes < 1) return;
    age.textContent = ` This page is ${minutes} min old.`;
    asOf.append(age);
  }, 10_000);
}
