"use strict";
(() => {
  const charts = JSON.parse(document.getElementById("charts").textContent);
  const drawn = new Map();
  const encode = echarts.format.encodeHTML;

  // -- values for people, as units.py writes them ---------------------------------------------------------------
  const digits = (value) => {
    const size = Math.abs(value);
    if (size >= 99.95) return Math.round(value).toLocaleString("en-US");
    return size >= 9.995 ? value.toFixed(1) : size >= 0.0995 ? value.toFixed(2) : String(Number(value.toPrecision(3)));
  };
  const short = (value) => Number(value.toPrecision(3)).toLocaleString("en-US");
  const duration = (write) => (value) => {
    for (const [factor, unit] of [[1, "s"], [1e3, "ms"], [1e6, "us"]]) {
      if (Math.abs(value) * factor >= 0.9995) return `${write(value * factor)} ${unit}`;
    }
    return value ? `${Math.round(value * 1e9)} ns` : "0 s";
  };
  const clock = (value) => {
    const whole = Math.floor(value + 1e-6);
    const two = (number) => String(number).padStart(2, "0");
    if (whole < 60) return `${short(value)} s`;
    const hours = Math.floor(whole / 3600);
    return `${hours ? `${hours}:${two(Math.floor(whole / 60) % 60)}` : Math.floor(whole / 60)}:${two(whole % 60)}`;
  };
  const percentile = (x) => `p${Number((100 * (1 - 1 / x)).toFixed(Math.max(1, Math.ceil(Math.log10(x)))))}`;
  const units = {
    s: [duration(digits), duration(short)],
    "/s": [(v) => `${digits(v)}/s`, (v) => `${short(v)}/s`],
    count: [short, short],
    ratio: [(v) => v.toFixed(3), (v) => String(Number(v.toFixed(3)))],
    share: [(v) => `${digits(v * 100)}%`, (v) => `${short(v * 100)}%`],
    clock: [clock, clock],
    percentile: [percentile, percentile],
  };
  const exact = (unit, value) => (value == null ? "-" : units[unit][0](value));

  // -- the picture ----------------------------------------------------------------------------------------------
  const theme = () => {
    const style = getComputedStyle(document.documentElement);
    const of = (name) => style.getPropertyValue(`--${name}`).trim();
    return { of, series: [1, 2, 3, 4, 5, 6, 7, 8].map((n) => of(`c${n}`)), tone: { bad: of("bad"), event: of("c4") } };
  };
  const axis = (spec, colours, more) => ({
    type: spec.log ? "log" : "value",
    name: spec.name,
    nameGap: 24,
    nameTextStyle: { color: colours.of("dim") },
    axisLine: { lineStyle: { color: colours.of("line") } },
    axisLabel: { color: colours.of("dim"), hideOverlap: true, showMaxLabel: spec.unit !== "percentile", formatter: units[spec.unit][1] },
    splitLine: { lineStyle: { color: colours.of("line"), opacity: 0.5 } },
    minorTick: { show: false },
    ...more,
  });
  const vertical = (mark, colours) => ({
    xAxis: mark.x,
    label: { formatter: () => mark.label, align: "left", color: colours.tone[mark.tone] || colours.of("dim"), fontSize: 11 },
    lineStyle: { color: colours.tone[mark.tone] || colours.of("dim") },
  });
  const level = (line, colours) => ({
    yAxis: line.y,
    label: { formatter: () => line.label, position: "insideEndTop", color: colours.of("dim"), fontSize: 11 },
    lineStyle: { color: colours.of("dim") },
  });
  const marks = (spec, colours) => ({
    markLine: {
      symbol: "none",
      silent: true,
      animation: false,
      lineStyle: { type: "dashed" },
      data: [...(spec.marks || []).map((m) => vertical(m, colours)), ...(spec.lines || []).map((l) => level(l, colours))],
    },
    markArea: {
      silent: true,
      itemStyle: { color: colours.of("dim"), opacity: 0.09 },
      label: { color: colours.of("dim"), fontSize: 11, position: "insideBottom" },
      data: (spec.areas || []).map((area) => [{ name: area.label, xAxis: area.from }, { xAxis: area.to }]),
    },
  });
  const series = (spec, one, index, colours) => {
    const xs = spec.x.values;
    const colour = colours.tone[one.tone] || colours.series[index % colours.series.length];
    const low = spec.series.find((other) => other.band === "low");
    const values = one.band === "high" ? one.values.map((v, i) => (v == null || low.values[i] == null ? null : v - low.values[i])) : one.values;
    return {
      type: one.bars ? "bar" : "line",
      name: one.name,
      data: xs.map((x, i) => [x, values[i]]),
      stack: one.band ? "band" : one.stack ? "stack" : undefined,
      showSymbol: Boolean(one.dots) || (spec.time && values.filter((v) => v != null).length < xs.length / 2),
      symbolSize: 6,
      barMinHeight: 2,
      connectNulls: !spec.time,
      animation: false,
      itemStyle: { color: one.band ? colours.of("c1") : colour },
      lineStyle: { width: one.bare || one.band ? 0 : 2, type: one.dashed || (index % 2 && !one.stack) ? [7, 3] : "solid", color: colour },
      areaStyle: one.band === "high" ? { color: colours.of("c1"), opacity: 0.18 } : one.fill ? { color: colour, opacity: 0.14 } : one.stack ? { color: colour, opacity: 0.55 } : undefined,
      emphasis: { disabled: true },
      ...(index === 0 ? marks(spec, colours) : {}),
    };
  };
  const tooltip = (spec) => (points) => {
    const at = points[0].axisValue;
    const index = points[0].dataIndex;
    const rows = spec.series.map((one) => `${encode(one.name)}: <b>${encode(exact(spec.y.unit, one.values[index]))}</b>`);
    return [`${encode(spec.x.name)} ${encode(exact(spec.x.unit, at))}`, ...rows].join("<br>");
  };
  const option = (spec, colours) => {
    const xs = spec.x.values;
    const slider = spec.time && xs.length > 20;
    return {
      backgroundColor: "transparent",
      textStyle: { fontFamily: "system-ui, sans-serif" },
      grid: { left: 12, right: 24, top: 66, bottom: slider ? 62 : 34, containLabel: true },
      legend: { top: 0, left: 0, textStyle: { color: colours.of("ink") }, data: spec.series.filter((s) => !s.band).map((s) => s.name) },
      tooltip: {
        trigger: "axis",
        confine: true,
        backgroundColor: colours.of("card"),
        borderColor: colours.of("line"),
        textStyle: { color: colours.of("ink"), fontSize: 13 },
        formatter: tooltip(spec),
      },
      xAxis: axis(spec.x, colours, { min: xs[0], max: xs[xs.length - 1], nameLocation: "middle", splitLine: { show: false } }),
      yAxis: axis(spec.y, colours, { scale: true, ...("min" in spec.y ? { min: spec.y.min, max: spec.y.max } : spec.y.log ? {} : { min: 0 }) }),
      dataZoom: [
        { type: "inside", zoomOnMouseWheel: "ctrl", moveOnMouseWheel: false, filterMode: "none" },
        ...(slider ? [{ type: "slider", height: 18, bottom: 6, filterMode: "none", labelFormatter: (v) => clock(v), textStyle: { color: colours.of("dim") } }] : []),
      ],
      series: spec.series.map((one, index) => series(spec, one, index, colours)),
    };
  };
  const draw = (figure) => {
    const name = figure.dataset.chart;
    if (drawn.has(name)) return;
    const chart = echarts.init(figure.querySelector(".plot"), null, { renderer: "svg" });
    chart.setOption(option(charts[name], theme()));
    drawn.set(name, chart);
    if (charts[name].time) {
      chart.group = name.replace(/-\d+$/, "");
      echarts.connect(chart.group);
    }
  };
  const redraw = () => drawn.forEach((chart, name) => chart.setOption(option(charts[name], theme()), { notMerge: true }));
  const drawAll = () => document.querySelectorAll("figure.chart").forEach(draw);

  // -- the table behind it ----------------------------------------------------------------------------------------
  const cell = (row, name, text, isNumber) => {
    const made = row.appendChild(document.createElement(name));
    made.textContent = text;
    if (isNumber) made.className = "number";
  };
  const tabulate = (details) => {
    if (details.querySelector("table")) return;
    const spec = charts[details.closest("figure").dataset.chart];
    const box = details.appendChild(document.createElement("div"));
    box.className = "scroll";
    box.tabIndex = 0;
    const table = box.appendChild(document.createElement("table"));
    const head = table.createTHead().insertRow();
    [spec.x.name, ...spec.series.map((one) => one.name)].forEach((name, i) => cell(head, "th", name, i > 0));
    const body = table.createTBody();
    spec.x.values.forEach((x, i) => {
      const row = body.insertRow();
      cell(row, "td", exact(spec.x.unit, x), false);
      spec.series.forEach((one) => cell(row, "td", exact(spec.y.unit, one.values[i]), true));
    });
  };

  // -- when -------------------------------------------------------------------------------------------------------
  const seen = new IntersectionObserver(
    (entries) => entries.filter((entry) => entry.isIntersecting).forEach((entry) => draw(entry.target)),
    { rootMargin: "400px" },
  );
  document.querySelectorAll("figure.chart").forEach((figure) => seen.observe(figure));
  document.querySelectorAll("details.data").forEach((details) => details.addEventListener("toggle", () => tabulate(details)));
  const resize = () => drawn.forEach((chart) => chart.resize());
  addEventListener("resize", resize);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  matchMedia("print").addEventListener("change", () => { drawAll(); redraw(); resize(); });
  addEventListener("beforeprint", () => { drawAll(); document.querySelectorAll("main details:not(.data)").forEach((one) => { one.open = true; }); });
})();
