/* What pages do beside being read: runs that go on, logs that go upwards, forms that ask first, lines of an editor. */
"use strict";
(() => {
  const make = (tag, text) => Object.assign(document.createElement(tag), {textContent: text});

  async function loadPart(url) {
    const answer = await fetch(url, {headers: {Accept: "text/html"}});
    if (!answer.ok || answer.redirected) throw new Error(`${url}: ${answer.status}`);
    return document.createRange().createContextualFragment(await answer.text());
  }

  /* -- the log of a run: its end first, earlier lines when they are asked for -- */

  function logLine(told) {
    const line = document.createElement("li"), at = make("time", told.at.slice(11, 19));
    at.dateTime = told.at;
    line.id = `event-${told.number}`;
    line.append(at, " ");
    if (told.host) line.append(make("b", told.host), " ");
    if (told.stage) line.append(make("i", told.stage), " ");
    line.append(make("span", told.text));
    return line;
  }

  function goUpwards(box, list) {
    const place = box.querySelector(".earlier");
    if (!place) return;
    place.querySelector("a").addEventListener("click", async event => {
      event.preventDefault();
      const first = list.firstElementChild, before = Number(first.id.slice(6)), top = first.offsetTop - box.scrollTop;
      const lines = await loadPart(`${box.dataset.log}?before=${before}&part=lines`);
      list.prepend(...lines.querySelectorAll("li"));
      box.scrollTop = first.offsetTop - top;
      if (Number(list.firstElementChild.id.slice(6)) <= 1) place.remove();
    });
  }

  /* -- a run that goes on: events as they come, and the table of hosts again, at most once a second -- */

  const MOST_LINES = 5000, AGAIN_MS = 1000, IDLE_MS = 5000;

  function follow(box, list) {
    const last = () => list.lastElementChild ? Number(list.lastElementChild.id.slice(6)) : 0;
    let due = null, busy = false;

    async function showHosts() {
      due = null;
      if (busy) return;
      busy = true;
      try {
        const part = await loadPart(box.dataset.hosts + location.search), shown = document.getElementById("hosts-live");
        const fresh = part.querySelector("#hosts-live");
        if (fresh && part.querySelector("h1") && !part.querySelector(".logbox[data-follow]")) return location.reload();
        if (fresh && !shown.contains(document.activeElement)) shown.replaceWith(fresh);
        if (fresh && fresh.dataset.state !== "under way") end();
      } catch (error) {
        /* the next event, or the next five seconds, try again */
      } finally {
        busy = false;
      }
    }

    function later() {
      due ??= setTimeout(showHosts, AGAIN_MS);
    }

    const events = new EventSource(`${box.dataset.follow}?after=${last()}`);
    const idle = setInterval(later, IDLE_MS);

    function end() {
      events.close();
      clearInterval(idle);
    }

    function add(event) {
      const told = JSON.parse(event.data);
      if (!told.number || told.number <= last()) return;
      const atEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 40;
      list.append(logLine(told));
      while (list.childElementCount > MOST_LINES) list.firstElementChild.remove();
      if (atEnd) box.scrollTop = box.scrollHeight;
      later();
    }

    events.onmessage = add;
    events.addEventListener("event", add);
    events.addEventListener("end", () => { showHosts(); end(); });
  }

  for (const box of document.querySelectorAll(".logbox")) {
    const list = box.querySelector(".log");
    box.scrollTop = box.scrollHeight;
    goUpwards(box, list);
    if (box.dataset.follow) follow(box, list);
  }

  /* -- a campaign that waits: looked at again until its run has a page -- */

  const POLL_MS = 2000;

  async function poll(place) {
    try {
      const answer = await fetch(place.dataset.poll, {headers: {Accept: "text/html"}});
      if (answer.redirected) return location.assign(answer.url);
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const fresh = answer.ok && page.getElementById("task-live");
      if (fresh) {
        place.replaceWith(fresh);
        place = fresh;
      }
    } catch (error) {
      /* the service may be away for a moment */
    }
    if (place.dataset.poll) setTimeout(poll, POLL_MS, place);
  }

  for (const place of document.querySelectorAll("[data-poll]")) setTimeout(poll, POLL_MS, place);

  /* -- forms that ask first -- */

  document.addEventListener("submit", event => {
    const question = event.target.dataset.confirm;
    if (question && !window.confirm(question)) event.preventDefault();
  });

  /* -- the editor: numbers of lines, and Tab as two blanks unless Escape came before -- */

  for (const editor of document.querySelectorAll("textarea[data-lines]")) {
    const numbers = document.getElementById(editor.dataset.lines);
    let counted = numbers.textContent.split("\n").length, leaves = false;
    const count = () => {
      const lines = editor.value.split("\n").length;
      if (lines !== counted) numbers.textContent = Array.from({length: lines}, (_, at) => at + 1).join("\n");
      counted = lines;
      numbers.scrollTop = editor.scrollTop;
    };
    editor.addEventListener("input", count);
    editor.addEventListener("scroll", () => { numbers.scrollTop = editor.scrollTop; });
    editor.addEventListener("keydown", event => {
      if (event.key === "Tab" && !leaves && !event.shiftKey) {
        event.preventDefault();
        editor.setRangeText("  ", editor.selectionStart, editor.selectionEnd, "end");
        count();
      }
      leaves = event.key === "Escape";
    });
    count();
    for (const link of document.querySelectorAll("a[data-line]")) {
      link.addEventListener("click", event => {
        event.preventDefault();
        const lines = editor.value.split("\n"), at = Number(link.dataset.line) - 1;
        const start = lines.slice(0, at).join("\n").length + (at > 0 ? 1 : 0);
        editor.focus();
        editor.setSelectionRange(start, start + (lines[at] || "").length);
        editor.scrollTop = at * editor.scrollHeight / lines.length - editor.clientHeight / 2;
      });
    }
  }

  /* -- a menu closes when something else is chosen -- */

  document.addEventListener("click", event => {
    for (const menu of document.querySelectorAll("details.menu[open]")) {
      if (!menu.contains(event.target)) menu.open = false;
    }
  });
})();
