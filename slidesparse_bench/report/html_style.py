"""The style sheet of the HTML report: one page, light and dark, paper and phone.

Nothing is fetched: fonts are the reader's, images are in the page. Chinese fonts stand in the list
by name, so that a page in Chinese looks the same whatever the browser's language is.
"""

from __future__ import annotations

STYLE = """
:root {
  color-scheme: light dark;
  --paper: #ffffff; --ink: #1c1e21; --soft: #5b6068; --line: #d5d8dd; --tint: #f3f5f7;
  --head: #e9ecf0; --link: #0b57a4; --alert: #8a4b00; --alert-tint: #fff4e0;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #15181c; --ink: #e4e7eb; --soft: #a3abb6; --line: #3a4049; --tint: #1d2126;
    --head: #272c33; --link: #7db8f5; --alert: #ffc46b; --alert-tint: #2e2415;
  }
}
* { box-sizing: border-box; }
html { scroll-padding-top: 1rem; -webkit-text-size-adjust: 100%; }
body {
  margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "PingFang SC",
    "Microsoft YaHei", "Noto Sans CJK SC", "WenQuanYi Micro Hei", sans-serif;
}
.page { max-width: 76rem; margin: 0 auto; padding: 1.5rem clamp(1rem, 3vw, 2.5rem) 4rem; }
a { color: var(--link); }
a.skip {
  position: absolute; left: -99rem; top: 0; padding: .6rem 1rem; background: var(--paper);
}
a.skip:focus { left: 0; z-index: 3; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: .5rem 0 1rem; overflow-wrap: anywhere; }
h2 {
  font-size: 1.35rem; margin: 2.8rem 0 .8rem; padding-bottom: .3rem;
  border-bottom: 1px solid var(--line);
}
h3 { font-size: 1.08rem; margin: 2rem 0 .6rem; overflow-wrap: anywhere; }
p, ul { margin: .6rem 0; max-width: 50rem; }
li { margin: .25rem 0; }
code, pre { font-family: ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; }
code {
  font-size: .875em; background: var(--tint); border-radius: 3px; padding: .05em .3em;
  overflow-wrap: anywhere;
}
pre {
  background: var(--tint); border: 1px solid var(--line); border-radius: 5px; padding: .8rem 1rem;
  overflow-x: auto; font-size: .85rem; line-height: 1.45;
}
aside {
  border-left: 4px solid var(--alert); background: var(--alert-tint); padding: .1rem 1rem;
  margin: .8rem 0; border-radius: 0 4px 4px 0;
}
nav { margin: 1.2rem 0 0; padding: .8rem 1.1rem; background: var(--tint); border-radius: 6px; }
nav p { margin: 0 0 .3rem; color: var(--soft); }
nav ol { columns: 16rem; margin: 0; padding-left: 1.4rem; }
nav li { break-inside: avoid; margin: 0; padding: .12rem 0; }
.table {
  overflow: auto; max-height: 85vh; margin: .8rem 0 1.2rem; border: 1px solid var(--line);
  border-radius: 5px;
}
.table:focus-visible { outline: 2px solid var(--link); outline-offset: 2px; }
table { border-collapse: separate; border-spacing: 0; width: 100%; font-size: .875rem; }
caption {
  text-align: left; padding: .45rem .7rem; color: var(--soft); border-bottom: 1px solid var(--line);
}
th, td {
  padding: .38rem .7rem; text-align: left; vertical-align: top;
  border-bottom: 1px solid var(--line); min-width: 3rem; max-width: 34rem;
}
tr:last-child td, tr:last-child th { border-bottom: 0; }
thead th { position: sticky; top: 0; z-index: 2; background: var(--head); white-space: nowrap; }
tbody th {
  position: sticky; left: 0; z-index: 1; background: var(--paper); font-weight: 500;
}
thead th:first-child { left: 0; z-index: 3; }
tbody tr:nth-child(even) td, tbody tr:nth-child(even) th { background: var(--tint); }
.number { text-align: right; font-variant-numeric: tabular-nums; }
td.number { white-space: nowrap; }
td.number.long { white-space: normal; min-width: 8rem; }
details { margin: .8rem 0; }
summary { cursor: pointer; padding: .3rem 0; font-weight: 500; }
figure { margin: 1.2rem 0; }
figure img {
  display: block; max-width: 100%; height: auto; background: #fff; border: 1px solid var(--line);
  border-radius: 5px; padding: .4rem;
}
figcaption { color: var(--soft); font-size: .875rem; margin-top: .3rem; }
.notes { list-style: none; padding-left: 0; font-size: .9rem; color: var(--soft); }
@media (max-width: 40rem) {
  body { font-size: 15px; }
  .page { padding-left: .8rem; padding-right: .8rem; }
  th, td { padding: .35rem .5rem; }
  tbody th { min-width: 5.5rem; max-width: 40vw; overflow-wrap: break-word; }
  td { min-width: 4.5rem; }
}
@media print {
  :root {
    color-scheme: light;
    --paper: #fff; --ink: #000; --soft: #444; --line: #bbb; --tint: #f6f6f6; --head: #eee;
    --link: #000; --alert: #000; --alert-tint: #fff;
  }
  @page { margin: 14mm 12mm; }
  body { font-size: 9.5pt; }
  .page { max-width: none; padding: 0; }
  nav, a.skip { display: none; }
  h2, h3, caption, summary { break-after: avoid; }
  figure, aside, tr, pre { break-inside: avoid; }
  .table { overflow: visible; max-height: none; border: 0; }
  table { font-size: 7.5pt; }
  thead { display: table-header-group; }
  thead th, tbody th { position: static; white-space: normal; }
  th, td, td.number { padding: 2pt 4pt; min-width: 0; white-space: normal; overflow-wrap: break-word; }
  pre { white-space: pre-wrap; overflow-wrap: anywhere; }
}
"""
