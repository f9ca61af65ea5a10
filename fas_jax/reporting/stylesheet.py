"""How pages look: they bring their styles with them, as they fetch nothing."""

STYLE = """
:root{color-scheme:light}*{box-sizing:border-box}
body{font:16px/1.5 system-ui,sans-serif;color:#1a1a1a;background:#fff;margin:0 auto;padding:1rem;max-width:1180px}
h1{font-size:1.6rem;margin:.4rem 0}h2{font-size:1.25rem;border-bottom:1px solid #ddd;margin:2rem 0 .6rem}
h3{font-size:1.05rem;margin:1.2rem 0 .4rem}h1,td,th,code,li{overflow-wrap:anywhere}
nav{display:flex;flex-wrap:wrap;gap:.1rem .9rem}a{color:#0059a8}
.warn{border-left:5px solid #d55e00;background:#fff4ec;padding:.5rem .8rem;margin:.5rem 0;font-weight:600}
.scroll{overflow-x:auto;margin:.5rem 0}table{border-collapse:collapse;font-size:.86rem}
th,td{padding:.22rem .6rem;border-bottom:1px solid #e4e4e4;text-align:left;vertical-align:top}
td,th{overflow-wrap:normal}th{background:#f5f5f5}.n{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
td:first-child{min-width:7.5rem;max-width:16rem;overflow-wrap:anywhere}td small{white-space:nowrap}
th.n{white-space:normal}
tr.pub td{color:#666;font-style:italic}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,320px),1fr));gap:.6rem 1.2rem}
figure{margin:0}figcaption{font-size:.86rem;font-weight:600}.chart{width:100%;max-width:520px;height:auto;display:block}
.legend{list-style:none;padding:0;margin:.3rem 0;display:flex;flex-wrap:wrap;gap:.1rem 1rem;font-size:.86rem}
.legend i{display:inline-block;width:1.6rem;margin-right:.4rem;vertical-align:middle}
.worst{border:1px solid #ddd;border-radius:6px;padding:.5rem;font-size:.84rem}
.worst img{height:72px;margin:0 2px 2px 0}.worst p{margin:.2rem 0}
details{margin:.6rem 0}summary{cursor:pointer;font-weight:600}
pre{background:#f7f7f7;padding:.6rem;overflow-x:auto;font-size:.8rem}small,.small{font-size:.84rem;color:#444}
"""
