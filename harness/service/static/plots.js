/* Plots of clocks over time: offset, offset within the bound, read delay; one cursor, one window of time. */
"use strict";
(() => {
  const HEIGHT = 165, STEPS = [[1, "ns"], [1e3, "us"], [1e6, "ms"], [1e9, "s"]];
  const COLOURS = ["--blue", "--orange", "--violet", "--teal", "--pass", "--fail", "--warn", "--soft"];
  const colour = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const faint = value => value + "38";
  const make = (tag, text, attributes) => Object.assign(document.createElement(tag), {textContent: text}, attributes);

  function digits(value) {
    return String(Number(value.toPrecision(3)));
  }

  function ns(value) {
    if (value == null) return "–";
    const [size, unit] = STEPS.find(step => Math.abs(value) < 999.5 * step[0]) || STEPS[3];
    return `${digits(value / size)} ${unit}`;
  }

  function axisValues(plot, splits) {
    const largest = Math.max(...splits.map(Math.abs));
    const [size, unit] = STEPS.find(step => largest < 1000 * step[0]) || STEPS[3];
    return splits.map(value => value === 0 ? "0" : `${Number((value / size).toPrecision(6))} ${unit}`);
  }

  function elapsed(seconds) {
    const [size, unit] = seconds >= 7200 ? [3600, "h"] : seconds >= 300 ? [60, "min"] : [1, "s"];
    return `${Number((seconds / size).toPrecision(4))} ${unit}`;
  }

  const moment = seconds => new Date(seconds * 1000).toISOString().slice(0, 19).replace("T", " ");

  /* Times of the day, and the date where it changes. */
  function timeValues(plot, splits, axis, space, step) {
    let before = "";
    return splits.map(value => {
      const [date, time] = moment(value).split(" "), shown = step >= 86400 ? "" : time.slice(0, step < 60 ? 8 : 5);
      const text = date === before ? shown : shown ? `${shown}\n${date}` : date;
      before = date;
      return text;
    });
  }

  /* Values without neighbours would be lines without length: they are drawn as points. */
  function alone(plot, index) {
    const values = plot.data[index], places = [];
    for (let at = 0; at < values.length; at++) {
      if (values[at] != null && values[at - 1] == null && values[at + 1] == null) places.push(at);
    }
    return places;
  }

  function curve(label, stroke, extra) {
    return {label, stroke, width: 1, value: (plot, value) => ns(value), spanGaps: false,
      points: {show: true, size: 4, filter: alone, fill: stroke}, ...extra};
  }

  /* The two curves that are the ends of an envelope, and what fills it. */
  function envelope(panel, name, [least, greatest], stroke, at) {
    panel.data.push(greatest, least);
    panel.series.push(curve(name ? `${name}, greatest` : "greatest", stroke), curve(name ? `${name}, least` : "least", stroke));
    panel.bands.push({series: [at, at + 1], fill: faint(stroke)});
  }

  function panelsOf(told) {
    const single = told.hosts.length === 1, panels = [];
    const add = (title, fill) => {
      const panel = {title, data: [], series: [], bands: []};
      told.hosts.forEach((host, number) => fill(panel, host, single ? null : colour(COLOURS[number % COLOURS.length])));
      if (panel.data.some(values => values.some(value => value != null))) panels.push(panel);
    };
    const name = host => single ? "" : host.name;
    add("Offset: system clock minus PHC", (panel, host, own) =>
      envelope(panel, name(host), host.offset, own || colour("--blue"), panel.data.length + 1));
    add(told.hosts.every(host => host.bound_has_device) ? "Offset within the error bound" : "Offset within chrony's bound",
      (panel, host, own) => {
        const stroke = own || colour("--orange"), largest = host.bound[1];
        if (!largest.some(value => value != null)) return;
        panel.data.push(largest, largest.map(value => value == null ? null : -value));
        panel.series.push(curve(single ? "bound" : `${host.name}, bound`, stroke, single ? {} : {dash: [4, 3]}),
          curve(single ? "bound below" : `${host.name}, bound below`, stroke, single ? {} : {dash: [4, 3]}));
        if (single) {
          panel.bands.push({series: [panel.data.length - 1, panel.data.length], fill: faint(stroke)});
          envelope(panel, "offset", host.offset, colour("--blue"), panel.data.length + 1);
        }
      });
    add("Time of a reading", (panel, host, own) =>
      envelope(panel, name(host), host.delay, own || colour("--teal"), panel.data.length + 1));
    return panels;
  }

  class Plots {
    constructor(place, number) {
      this.place = place;
      this.url = new URL(place.dataset.series, location.href);
      this.key = `plots-${number}`;
      this.drawn = [];
      this.load(null, null);
      matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.told && this.draw());
      new ResizeObserver(() => this.drawn.forEach(plot => plot.setSize({width: this.width(), height: HEIGHT}))).observe(place);
    }

    width() {
      return Math.max(200, this.place.clientWidth);
    }

    async load(from, to) {
      const url = new URL(this.url);
      if (from != null) {
        url.searchParams.set("from_s", from);
        url.searchParams.set("to_s", to);
      }
      if (this.asked === url.href) return;  // all plots under one cursor ask for the same
      this.asked = url.href;
      try {
        const answer = await fetch(url, {headers: {Accept: "application/json"}});
        const told = await answer.json();
        if (!answer.ok) throw new Error(told.detail);
        this.told = told;
      } catch (error) {
        this.place.replaceChildren(make("p", `The plots cannot be drawn: ${error.message}`, {className: "small"}));
        return;
      } finally {
        this.asked = null;
      }
      performance.mark("plots-begin");
      this.draw();
      await new Promise(requestAnimationFrame);  // uPlot draws before the next frame
      performance.measure("plots", "plots-begin");
    }

    draw() {
      const {told} = this, single = told.hosts.length === 1;
      this.drawn.forEach(plot => plot.destroy());
      const begin = single ? told.hosts[0].begin_s : 0, xs = [];
      for (let at = 0; at < told.columns; at++) xs.push(begin + told.first_s + (at + 0.5) * told.column_s);
      this.place.dataset.shown = JSON.stringify([told.first_s, told.columns * told.column_s]);
      this.place.replaceChildren(this.tools(begin, single));
      this.drawn = panelsOf(told).map(panel => {
        const figure = make("div", "", {className: "panel"});
        figure.append(make("p", panel.title, {className: "panel-title"}));
        this.place.append(figure);
        return new uPlot(this.options(panel, begin, single), [xs, ...panel.data], figure);
      });
    }

    options(panel, begin, single) {
      const ink = colour("--soft"), rule = {stroke: colour("--rule"), width: 1};
      const axis = {stroke: ink, grid: rule, ticks: rule, font: "12px system-ui, sans-serif"};
      const {told} = this, end = told.first_s + told.columns * told.column_s;
      return {
        width: this.width(), height: HEIGHT, padding: [6, 12, 0, 0], bands: panel.bands,
        tzDate: seconds => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
        scales: {x: {time: single, range: [begin + told.first_s, begin + end]}},
        axes: [single ? {...axis, values: timeValues} : {...axis, values: (plot, splits) => splits.map(elapsed)},
          {...axis, size: 78, values: axisValues}],
        series: [{label: single ? "UTC" : "after", value: (plot, value) =>
          value == null ? "–" : single ? moment(value) : elapsed(value)}, ...panel.series],
        cursor: {sync: {key: this.key}, drag: {x: true, y: false, setScale: false},
          bind: {dblclick: () => () => { this.load(null, null); return null; }}},
        hooks: {setSelect: [plot => {
          const from = plot.posToVal(plot.select.left, "x") - begin;
          const to = plot.posToVal(plot.select.left + plot.select.width, "x") - begin;
          if (plot.select.width > 3) this.load(Math.max(0, from), to);
        }]},
      };
    }

    tools(begin, single) {
      const {told} = this, from = told.first_s, to = from + told.columns * told.column_s, span = to - from;
      const bar = make("div", "", {className: "plot-tools"});
      const button = (title, off, first, last) => bar.append(make("button", title, {className: "plain",
        type: "button", disabled: off, onclick: () => { this.refocus = title; this.load(first, last); }}));
      const whole = from <= 0 && to >= told.length_s;
      button("Zoom in", span <= 10 * told.column_s, from + span / 4, to - span / 4);
      button("Zoom out", whole, Math.max(0, from - span / 2), Math.min(told.length_s, to + span / 2));
      button("Earlier", from <= 0, Math.max(0, from - span / 2), Math.max(span, to - span / 2));
      button("Later", to >= told.length_s, Math.min(told.length_s - span, from + span / 2), Math.min(told.length_s, to + span / 2));
      button("All", whole, null, null);
      const [first, last] = [moment(begin + from), moment(begin + to)];
      const shown = single ? `${first} to ${last.slice(0, 10) === first.slice(0, 10) ? last.slice(11) : last} UTC` : `${elapsed(from)} to ${elapsed(to)} after the first sample`;
      bar.append(make("span", `${shown}, columns of ${elapsed(told.column_s)}`, {className: "small"}));
      queueMicrotask(() => {
        const again = [...bar.children].find(child => child.textContent === this.refocus && !child.disabled);
        if (again) again.focus();
        this.refocus = null;
      });
      return bar;
    }
  }

  document.querySelectorAll("[data-series]").forEach((place, number) => new Plots(place, number));
})();
