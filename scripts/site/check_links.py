"""Checks a built site: every link and anchor leads somewhere, and no page loads anything from elsewhere.

python -m scripts.site.check_links build/site
"""

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

_LOADED = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src"}


class _Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = {name: value or "" for name, value in attrs}
        self.anchors |= {known[name] for name in ("id", "name") if known.get(name)}
        if tag == "a" and "href" in known:
            self.links.append(known["href"])
        if tag in _LOADED and known.get(_LOADED[tag]) and known.get("rel") not in ("canonical", "next", "prev"):
            self.loaded.append(known[_LOADED[tag]])


def faults(site: Path) -> list[str]:
    """What is wrong with a site, one line for each fault.

    Args:
        site: Folder of HTML files, which is served as the root.
    """
    pages = {path.resolve(): _Page(path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html"))}
    found = [] if pages else [f"{site} has no pages"]
    for path, page in pages.items():
        name = path.relative_to(site.resolve())
        for target in page.loaded:
            if urlsplit(target).netloc:
                found.append(f"{name} loads {target} from elsewhere")
        for target in (*page.links, *page.loaded):
            parts = urlsplit(target)
            if parts.scheme or parts.netloc:
                continue
            address, anchor = urldefrag(unquote(target))
            aim = (site / address.lstrip("/") if address.startswith("/") else path.parent / address).resolve()
            aim = path if not address else aim / "index.html" if aim.is_dir() else aim
            if not aim.is_file():
                found.append(f"{name}: {target} leads nowhere")
            elif anchor and aim in pages and anchor not in pages[aim].anchors:
                found.append(f"{name}: {target} names no place of that page")
    return found


def main() -> int:
    """Prints all faults; 1 if there are any."""
    found = faults(Path(sys.argv[1]))
    print("\n".join(found) if found else "all links lead somewhere, and nothing is loaded from elsewhere")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
