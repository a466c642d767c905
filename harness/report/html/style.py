"""Hold the style of the page: light and dark, on paper, and as narrow as a phone. The page is readable without it."""

STYLE = """
:root{color-scheme:light dark;--page:#fff;--ink:#1c2430;--soft:#5b6675;--rule:#d8dee6;--tint:#f4f6f9;
--pass:#1a7f37;--fail:#c62828;--warn:#9a6700;--none:#57606a;--link:#0b5cad;
--blue:#0b62b0;--orange:#c05a00;--violet:#7a3ea8;--teal:#0a7d72}
@media(prefers-color-scheme:dark){:root{--page:#12161c;--ink:#dfe5ec;--soft:#9aa7b6;--rule:#323b47;--tint:#1a2029;
--pass:#4cc26a;--fail:#ff7b72;--warn:#e0b04a;--none:#9aa7b6;--link:#7db7ff;
--blue:#6cb2ff;--orange:#ffa657;--violet:#cf9bff;--teal:#56d3c4}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif}
main{max-width:84rem;margin:0 auto;padding:1.5rem clamp(.9rem,3vw,2rem) 4rem}
h1{font-size:1.7rem;line-height:1.2;margin:0 0 .3rem;overflow-wrap:anywhere}
h2{font-size:1.3rem;margin:2.4rem 0 .8rem;padding-bottom:.3rem;border-bottom:1px solid var(--rule)}
h3{font-size:1.15rem;margin:0 0 .5rem;overflow-wrap:anywhere}
.scroll+h3,p+h3{margin-top:1.6rem}
h4{font-size:.95rem;margin:1.5rem 0 .5rem}
p,ul{margin:.4rem 0;overflow-wrap:anywhere}
ul{padding-left:1.3rem}
a{color:var(--link)}
.small,small{color:var(--soft);font-size:.87rem}
td small{display:block}
.sentence{font-size:1.02rem;max-width:60rem}
.warning{border:1px solid var(--fail);border-left-width:.4rem;border-radius:.3rem;padding:.4rem 1rem;margin:1rem 0}
.tiles{display:flex;flex-wrap:wrap;gap:.7rem;list-style:none;padding:0;margin:0 0 1rem}
.tile{border:1px solid var(--rule);border-left:.35rem solid;border-radius:.3rem;padding:.3rem .9rem;min-width:8rem}
.tile b{font-size:1.5rem;margin-right:.2rem}
.badge{border:1px solid;border-radius:.25rem;padding:0 .4rem;font-size:.84rem;font-weight:700;letter-spacing:.02em;
white-space:nowrap}
.pass,.rung.proven{color:var(--pass)}.fail,.rung.failed{color:var(--fail)}
.inconclusive,.rung.not_observed{color:var(--warn)}.unsupported,.rung{color:var(--none)}
.held,.rung{font-weight:600;white-space:nowrap}
.host{border-top:1px solid var(--rule);padding-top:1.6rem;margin-top:2rem}
h2+.host{border-top:0;padding-top:0;margin-top:0}
.scroll{overflow-x:auto;max-width:100%}
.scroll:focus-visible,summary:focus-visible,a:focus-visible{outline:2px solid var(--link);outline-offset:2px}
table{border-collapse:collapse;font-size:.87rem;line-height:1.4}
th,td{text-align:left;vertical-align:top;padding:.32rem .9rem .32rem 0;border-bottom:1px solid var(--rule)}
thead th{color:var(--soft);font-weight:600;white-space:nowrap;border-bottom-width:2px;vertical-align:bottom}
tbody th{font-weight:600;white-space:nowrap}
.n,.numbers td,.numbers th{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
.summary{width:100%}.summary td:nth-child(2){white-space:nowrap}.summary td:nth-child(4){min-width:17rem}
.summary td:nth-child(n+7){min-width:9.5rem;overflow-wrap:anywhere}.summary td:nth-child(9){min-width:5rem}
.types{width:100%}.types small,.count{white-space:nowrap}.types td:nth-child(n+7){min-width:9rem;overflow-wrap:anywhere}
.types td:nth-child(9){min-width:4rem}
.ladder,table.figures{width:100%}.ladder td:nth-child(3){min-width:18rem;overflow-wrap:anywhere}
.findings td:last-child{min-width:16rem}.compare td:nth-child(2){white-space:nowrap}
table.figures td:nth-child(2){min-width:14rem}
table.figures td:nth-child(3){min-width:16rem;color:var(--soft)}
div.figures{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,30rem),1fr));gap:0 2.2rem;
margin-top:1.2rem}
div.figures.one{grid-template-columns:minmax(0,46rem)}
figure{margin:0 0 1.6rem;min-width:0;display:grid;grid-template-columns:minmax(0,1fr);grid-row:span 3;
grid-template-rows:subgrid;align-items:start}
figcaption{padding-bottom:.4rem;overflow-wrap:anywhere}
figure svg{display:block;width:100%;height:auto}
figure p{color:var(--soft);font-size:.87rem}
summary{cursor:pointer;color:var(--link);font-size:.87rem;padding:.2rem 0}
.numbers{font-size:.8rem;line-height:1.25}
details .scroll{max-height:24rem;overflow:auto}
.offset,.tdev{color:var(--blue)}.bound{color:var(--orange)}.mtie{color:var(--violet)}.delay{color:var(--teal)}
.floor,.muted{color:var(--soft)}
.median{color:var(--teal)}.p99{color:var(--blue)}.largest{color:var(--violet)}
@media(max-width:40rem){body{font-size:14px}h1{font-size:1.35rem}.tile{min-width:0;flex:1 1 40%}}
@media print{:root{color-scheme:light;--page:#fff;--ink:#000;--soft:#444;--rule:#bbb;--pass:#116329;--fail:#a40e26;
--warn:#6b4a00;--none:#444;--link:#000;--blue:#0b4f94;--orange:#a04a00;--violet:#5e2d85;--teal:#075f57}
@page{margin:14mm}body{font-size:10pt}figure p{font-size:8pt}main{max-width:none;padding:0}.back,summary{display:none}
details::details-content{content-visibility:visible;display:block;height:auto}
.scroll,details .scroll{overflow:visible;max-height:none}
tr,.tile{break-inside:avoid}h2,h3,h4,figcaption{break-after:avoid}
div.figures{grid-template-columns:1fr 1fr;gap:0 1.2rem}
thead th,tbody th,.n{white-space:normal}td{min-width:0!important}
.summary,.compare,.types{font-size:7.5pt}.summary td:nth-child(4){min-width:13rem!important}
.summary th,.summary td{padding-right:.5rem}figure{display:block;break-inside:auto}figure svg{break-inside:avoid}
.figures:not(.one) .compare{font-size:6pt}.figures:not(.one) .compare :is(th,td){padding:.1rem .4rem .1rem 0}
.figures td.n{white-space:nowrap}.numbers{font-size:6.5pt}.numbers th,.numbers td{padding:0 .6rem 0 0}}
"""
